"""The model file: an ONNX graph with its contract inside."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx

import dae_runtime
from dae_runtime.contract import METADATA_KEY, Contract, Golden, to_json
from dae_runtime.engine.golden import MEAN_TOLERANCE
from dae_runtime.engine.session import open_session, run_session
from dae_runtime.pixels.arrays import convert

from ..measure.running import takes_pixels
from .golden_image import GOLDEN_SIDE_PX, golden_image

FloatArray = npt.NDArray[np.float32]

GOLDEN_TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 8 / 255}
"""What a sound device may differ by at most, in the range [0, 1]; `dae_runtime.engine.golden.MEAN_TOLERANCE` says by how much
in the mean.

Float32 results depend on the order of summation. INT8 kernels round the output to one of 256 steps, and what differs by
rounding before that may move a few pixels by some. 8-bit outputs may differ by these, rounded up to whole steps.
"""


def golden_sample(model: bytes, noisy: FloatArray, precision: str, alignment_px: int, fixed_size: bool) -> Golden:
    """Run a model on a small image that shows what a wrong kernel gets wrong; see `golden_image`.

    Args:
        model: Content of the ONNX file, of either kind of edge.
        noisy: (N, H, W, C) float32 in [0, 1] of a size that the model takes; a part of the image is one of the first. A uint8
            model gets it rounded to 8 bits.
        precision: Of the model, as in the contract.
        alignment_px: Height and width of the image are multiples of this.
        fixed_size: Whether the model takes no other size than that of `noisy`.
    """
    side = max(GOLDEN_SIDE_PX // alignment_px, 1) * alignment_px
    image = golden_image(noisy, *(noisy.shape[1:3] if fixed_size else (side, side)))
    session, tolerance, mean = open_session(model, "cpu"), GOLDEN_TOLERANCE[precision], MEAN_TOLERANCE[precision]
    if takes_pixels(session):
        image, tolerance, mean = convert(image, np.uint8), math.ceil(255 * tolerance), 255 * mean
    denoised = run_session(session, image)
    little_endian = denoised.astype(denoised.dtype.newbyteorder("<"), order="C")
    return Golden(image.shape, image.tobytes(), little_endian.tobytes(), tolerance, mean)


def with_contract(model: onnx.ModelProto, contract: Contract) -> bytes:
    """Return the content of the model file; `model` is not changed."""
    labeled = onnx.ModelProto()
    labeled.CopyFrom(model)
    del labeled.metadata_props[:]
    labeled.metadata_props.add(key=METADATA_KEY, value=to_json(contract))
    labeled.producer_version = dae_runtime.__version__
    content: bytes = labeled.SerializeToString(deterministic=True)
    return content


def first_image(batches: Iterable[FloatArray]) -> FloatArray:
    """Return the first image of the first batch, as a batch of one."""
    return next(iter(batches))[:1]
