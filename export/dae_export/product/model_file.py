"""The model file: an ONNX graph with its contract inside."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx

import dae_runtime
from dae_runtime.contract import METADATA_KEY, Contract, Golden, to_json
from dae_runtime.engine.session import open_session, run_session
from dae_runtime.pixels.arrays import convert

from ..measure.running import takes_pixels

FloatArray = npt.NDArray[np.float32]

GOLDEN_SIDE_PX = 32
GOLDEN_TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 4 / 255}
"""What a sound device may differ by, in the range [0, 1].

Float32 results depend on the order of summation. INT8 kernels round the output to one of 256 steps, and what differs by
rounding before that may move it by a few. 8-bit outputs may differ by these, rounded up to whole steps.
"""


def golden_sample(model: bytes, noisy: FloatArray, precision: str, alignment_px: int, fixed_size: bool) -> Golden:
    """Run a model on a small piece of a noisy image.

    Args:
        model: Content of the ONNX file, of either kind of edge.
        noisy: (N, H, W, C) float32 in [0, 1] of a size that the model takes; the first image is used. A uint8 model gets it
            rounded to 8 bits.
        precision: Of the model, as in the contract.
        alignment_px: Height and width of the piece are multiples of this.
        fixed_size: Whether the model takes no other size than that of `noisy`.
    """
    side = max(GOLDEN_SIDE_PX // alignment_px, 1) * alignment_px
    piece = noisy[:1] if fixed_size else noisy[:1, :side, :side]
    session, tolerance = open_session(model, "cpu"), GOLDEN_TOLERANCE[precision]
    piece = np.ascontiguousarray(np.clip(piece, 0, 1), "<f4")
    if takes_pixels(session):
        piece, tolerance = convert(piece, np.uint8), math.ceil(255 * tolerance)
    denoised = run_session(session, piece)
    little_endian = denoised.astype(denoised.dtype.newbyteorder("<"), order="C")
    return Golden(piece.shape, piece.tobytes(), little_endian.tobytes(), tolerance)


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
