"""The model file: an ONNX graph with its contract, which includes the golden sample.

A kernel that saturates sums does so where products are large: on white and nearly white, at hard edges, in saturated colors.
An image of medium brightness may not reveal it, so the golden sample contains all of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import onnx

import dae_runtime
from dae_runtime.contract import METADATA_KEY, Contract, Golden, ImageSpec, SigmaInput, to_json
from dae_runtime.engine.golden import MEAN_TOLERANCE
from dae_runtime.engine.session import open_session, run_session
from dae_runtime.pixels.arrays import Float64, FloatArray, convert

from ..measure.batches import Batch, images_of, part_of, takes_pixels

GOLDEN_SIDE_PX = 48
NOISE = 25 / 255
STRONG_NOISE = 60 / 255
NEARLY_WHITE = 235 / 255
GOLDEN_TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 8 / 255}
"""Largest difference on a correct device, in the range [0, 1]; `dae_runtime.engine.golden.MEAN_TOLERANCE` limits the mean.

Float32 results depend on the order of summation. INT8 kernels round the output to 256 steps, and earlier rounding differences
may change a few pixels by some steps. For uint8 outputs the tolerance is rounded up to whole steps.
"""


def golden_sample(model: bytes, noisy: Batch, precision: str, images: ImageSpec, levels: SigmaInput | None = None) -> Golden:
    """Run a model on a small image that reveals faulty kernels; see `golden_image`.

    Args:
        model: Content of the ONNX file, float32 or uint8.
        noisy: (N, H, W, C) float32 in [0, 1]; part of the first image is used, rounded to 8 bits for a uint8 model.
        precision: Precision as in the contract.
        images: Images that the model accepts.
        levels: The noise levels that the model was trained on, of which the middle is given; None if it takes none.
    """
    image = golden_image(images_of(noisy), *images.size_near(GOLDEN_SIDE_PX))
    session, tolerance, mean = open_session(model, "cpu"), GOLDEN_TOLERANCE[precision], MEAN_TOLERANCE[precision]
    if takes_pixels(session):
        image, tolerance, mean = convert(image, np.uint8), math.ceil(255 * tolerance), 255 * mean
    sigma = None if levels is None else float(np.float32((levels.low + levels.high) / 2))
    denoised = run_session(session, image, *([] if sigma is None else [np.full((1, 1), sigma, np.float32)]))
    little_endian = denoised.astype(denoised.dtype.newbyteorder("<"), order="C")
    return Golden(image.shape, image.tobytes(), little_endian.tobytes(), tolerance, mean, sigma)


def golden_image(noisy: FloatArray, height_px: int, width_px: int) -> FloatArray:
    """Return (1, H, W, C) little-endian float32 in [0, 1]: nine fields in three rows, with noise.

    A piece of the noisy image, white, black; nearly white, gray with strong noise, a checkerboard of black and white; and
    three fields of saturated colors (gradients and stripes for gray), so that every color channel reaches both ends of its
    range beside others that do not.

    Args:
        noisy: (N, H, W, C), of any size; the first image is used, tiled if too small.
        height_px: Height of the result.
        width_px: Width of the result.
    """
    random = np.random.default_rng(0)
    channels = noisy.shape[3]
    rows, columns = np.arange(height_px) % noisy.shape[1], np.arange(width_px) % noisy.shape[2]
    image = noisy[0][np.ix_(rows, columns)].astype(np.float64)
    noise = NOISE * random.standard_normal(image.shape)
    for index, field in enumerate(_fields(channels, -(-height_px // 3), -(-width_px // 3)), 1):
        row, column = divmod(index, 3)
        part = np.s_[row * height_px // 3 : (row + 1) * height_px // 3, column * width_px // 3 : (column + 1) * width_px // 3]
        size = image[part].shape
        image[part] = field[: size[0], : size[1]] + noise[part] * (STRONG_NOISE / NOISE if index == 4 else 1)
    return np.ascontiguousarray(np.clip(image, 0, 1)[None], "<f4")


def with_contract(model: onnx.ModelProto, contract: Contract) -> bytes:
    """Return the content of the model file; `model` is not changed."""
    labeled = onnx.ModelProto()
    labeled.CopyFrom(model)
    del labeled.metadata_props[:]
    labeled.metadata_props.add(key=METADATA_KEY, value=to_json(contract))
    labeled.producer_version = dae_runtime.__version__
    content: bytes = labeled.SerializeToString(deterministic=True)
    return content


def first_image(batches: Iterable[Batch]) -> Batch:
    """Return the first image of the first batch, as a batch of one."""
    return part_of(next(iter(batches)), 0, 1)


def _fields(channels: int, height_px: int, width_px: int) -> list[Float64]:
    """Return the fields after the first, without noise, (H, W, C) each."""
    row, column = np.mgrid[:height_px, :width_px]
    slope = column / max(width_px - 1, 1)
    patterns = [slope, (column // 2 % 2).astype(float), ((row + column) // 3 % 2).astype(float)]
    board = ((row + column) % 2).astype(float)
    flat = [np.full((height_px, width_px), level) for level in (1.0, 0.0, NEARLY_WHITE, 0.5)]
    fields = [np.repeat(level[..., None], channels, 2) for level in (*flat, board)]
    if channels == 1:
        return fields + [pattern[..., None] for pattern in patterns]
    # Red, cyan and yellow, each with a pattern between the ends of the range in one channel.
    colors = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0]], float)
    for turn, (color, pattern) in enumerate(zip(colors, patterns, strict=True)):
        field = np.broadcast_to(color, (height_px, width_px, 3)).copy()
        field[row >= height_px // 2, (turn + 1) % 3] = pattern[row >= height_px // 2]
        fields.append(field)
    return fields
