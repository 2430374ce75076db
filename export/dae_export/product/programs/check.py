"""Comparison of a file for another program with the file that it was made from: the same pictures through both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dae_runtime.contract import INPUT_NAME, OUTPUT_NAME, SIGMA_NAME, Contract
from dae_runtime.engine.session import run_session
from dae_runtime.pixels.arrays import FloatArray
from dae_runtime.pixels.metrics import psnr_of_mse

from ...errors import ParityError
from ...graph.model import TO_NCHW, TO_NHWC
from ...measure.parity import noisy_images

SIZES = ((2, 1, 1), (2, 1, 6), (2, 33, 50), (2, 64, 64))
"""Pictures, heights and widths; where the old file needs aligned or fixed sizes, the next of these."""
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 1e-6}
"""Largest difference if both files compute in one precision, in the range [0, 1].

Float32 sums depend on their order, and float16 rounds each tensor to 11 bits; integers are the same.
"""
LEAST_AGREEMENT_DB = 30.0
"""Least agreement of a float file with the INT8 file that it was made from, whose activations have 256 levels.

42 to 56 dB were measured for the bundled models; a graph that computes something else stays below 20.
"""


@dataclass(frozen=True)
class Difference:
    """The two files over all pictures, outputs clipped to [0, 1]."""

    largest: float
    agreement_db: float


def compare(old: Any, before: Contract, new: Any, after: Contract, level: float | None) -> Difference:
    """Run both files on the same pictures.

    Args:
        old: The file that the other was made from, opened; images N x H x W x C.
        before: Its contract.
        new: The file for another program, opened.
        after: Its contract.
        level: Noise level that is built into it, 0 to 1.

    Raises:
        ParityError: They differ more than their precisions explain.
    """
    largest, squares, values = 0.0, 0.0, 0
    images = replace(before.images, alignment_px=1) if before.any_size else before.images
    for count, height, width, _ in images.shapes(SIZES, (2,)):
        noisy = noisy_images((count, height, width, after.channels))
        levels = _levels(before, len(noisy), level)
        expected = _run_old(old, noisy, levels, before.channels)
        received = run_program(new, after, noisy, None if level is not None else levels)
        errors = np.abs(np.clip(expected, 0, 1).astype(np.float64) - np.clip(received, 0, 1))
        largest, squares, values = max(largest, float(errors.max())), squares + float(np.sum(errors**2)), values + errors.size
    difference = Difference(largest, psnr_of_mse(squares / values, largest_db=100.0))
    if before.precision == "int8" != after.precision:
        sound = difference.agreement_db >= LEAST_AGREEMENT_DB
    else:
        sound = largest <= TOLERANCE[after.precision]
    if not sound:
        raise ParityError(
            f"the file for the program differs from {before.name} by {largest:.3g}, an agreement of "
            f"{difference.agreement_db:.1f} dB. Report the layers of the model."
        )
    return difference


def run_program(session: Any, contract: Contract, noisy: FloatArray, levels: FloatArray | None) -> FloatArray:
    """Run a file for another program as the program does.

    Args:
        session: The opened file.
        contract: Its contract.
        noisy: (N, H, W, C) float32.
        levels: (N, 1) float32; None if the file takes none.

    Returns:
        The output in the order of `noisy`.
    """
    images = np.ascontiguousarray(noisy.transpose(TO_NCHW))
    form = "" if contract.sigma is None or levels is None else contract.sigma.form
    feeds = {INPUT_NAME: images}
    if form == "value" and levels is not None:
        feeds[SIGMA_NAME] = levels
    elif form and levels is not None:
        plane = np.broadcast_to(levels[..., None, None], (len(images), 1, *images.shape[2:])).astype(np.float32)
        feeds |= {SIGMA_NAME: plane} if form == "map" else {INPUT_NAME: np.concatenate([images, plane], axis=1)}
    received: FloatArray = session.run([OUTPUT_NAME], feeds)[0]
    return received.transpose(TO_NHWC)


def _levels(contract: Contract, count: int, level: float | None) -> FloatArray | None:
    if contract.sigma is None:
        return None
    if level is not None:
        return np.full((count, 1), level, np.float32)
    return np.linspace(contract.sigma.low, contract.sigma.high, count + 2, dtype=np.float32)[1:-1, None]


def _run_old(session: Any, noisy: FloatArray, levels: FloatArray | None, channels: int) -> FloatArray:
    """Run the old file; each channel for itself if it is gray."""
    parts = [np.ascontiguousarray(noisy[..., i : i + channels]) for i in range(0, noisy.shape[3], channels)]
    results = [np.asarray(run_session(session, part, levels), np.float32) for part in parts]
    return np.concatenate(results, axis=3)
