"""Evaluation of a trained denoiser, and calibration samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from dae_runtime.pixels.metrics import mean_square_error, psnr_db

from ..data.image_set import FloatArray
from ..data.patches import pad_to
from .image_metrics import ssim

_BATCH_PX = 2**19
_BCE_EPSILON = 1e-7

CALIBRATION_PX, TEST_PX = 2**19, 2**18
"""Pixels of the calibration and test samples; at most 256 images each."""


def evaluate(
    denoiser: keras.Model, noisy: FloatArray, clean: FloatArray, alignment_px: int, sigma: FloatArray | None = None
) -> dict[str, Any]:
    """Evaluate a denoiser on images.

    Args:
        denoiser: Maps (N, H, W, C) to the same shape.
        noisy: (N, H, W, C), of any size if the network accepts it.
        clean: Of the same shape, in [0, 1].
        alignment_px: Height and width of the network input must be multiples of this.
        sigma: Noise levels, (N, 1); only for a network that is given them.

    Returns:
        `images`, `bce`, `mse`, `psnr_db` (of the mean squared error over all images), `ssim` (mean), `noisy_mse`,
        `noisy_psnr_db`.
    """
    denoised = denoise(denoiser, noisy, alignment_px, sigma)
    return {
        "images": len(clean),
        "bce": _binary_crossentropy(clean, denoised),
        "mse": mean_square_error(clean, denoised),
        "psnr_db": psnr_db(clean, denoised),
        "ssim": float(np.mean(_in_batches(lambda pair: keras.ops.convert_to_numpy(ssim(*pair)), clean, denoised))),
        "noisy_mse": mean_square_error(clean, noisy),
        "noisy_psnr_db": psnr_db(clean, noisy),
    }


def denoise(denoiser: keras.Model, noisy: FloatArray, alignment_px: int, sigma: FloatArray | None = None) -> FloatArray:
    """Return denoised images of the same shape; sizes that do not fit are padded by reflection and cropped.

    `sigma`, (N, 1), is for a network that is given the noise levels.
    """
    height, width = noisy.shape[1:3]
    size = tuple(-(-side // alignment_px) * alignment_px for side in (height, width))
    fitting = noisy if size == (height, width) else np.stack([pad_to(image, (size[0], size[1])) for image in noisy])
    if sigma is None:
        return _in_batches(lambda part: denoiser.predict_on_batch(part[0]), fitting)[:, :height, :width]
    return _in_batches(denoiser.predict_on_batch, fitting, sigma)[:, :height, :width]


def calibration_samples(
    noisy: FloatArray, clean: FloatArray, images: npt.NDArray[np.int64], sigma: FloatArray | None = None
) -> dict[str, FloatArray]:
    """Choose INT8 samples from validation pairs: `noisy` and `clean`, and `test_noisy` and `test_clean` of other images.

    With levels there are `sigma` and `test_sigma` as well.

    With too few pairs for both, two thirds calibrate and the rest tests. A single pair or image serves both.

    Args:
        noisy: (N, H, W, C).
        clean: Of the same shape.
        images: (N,) image index of each pair; the last third come from other images than the rest, if there are several.
        sigma: Noise levels, (N, 1); None if the network is not given them.
    """
    area = noisy.shape[1] * noisy.shape[2]
    wanted = min(256, max(8, CALIBRATION_PX // area))
    wanted_test = min(256, max(8, TEST_PX // area))
    first = min(wanted, max(1, len(noisy) * 2 // 3))
    rest = np.arange(min(first, len(noisy) - 1), len(noisy))
    others = rest[~np.isin(images[rest], images[:first])]
    test = (others if len(others) else rest)[:wanted_test]
    kinds = {"noisy": noisy, "clean": clean, **({} if sigma is None else {"sigma": sigma})}
    return {name: kind[:first] for name, kind in kinds.items()} | {f"test_{name}": kind[test] for name, kind in kinds.items()}


def _in_batches(function: Callable[[list[FloatArray]], Any], *arrays: FloatArray) -> FloatArray:
    size = max(1, _BATCH_PX // (arrays[0].shape[1] * arrays[0].shape[2]))
    parts = [function([array[start : start + size] for array in arrays]) for start in range(0, len(arrays[0]), size)]
    return np.concatenate(parts)


def _binary_crossentropy(clean: FloatArray, denoised: FloatArray) -> float:
    q = np.clip(denoised.astype(np.float64), _BCE_EPSILON, 1 - _BCE_EPSILON)
    return float(-np.mean(clean * np.log(q) + (1 - clean) * np.log1p(-q)))
