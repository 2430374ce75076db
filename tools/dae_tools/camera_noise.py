"""Noise as a camera leaves it, made on clean photographs: correlated, uneven, stronger or weaker in color, JPEG in the end.

Every function takes colors (H, W, 3) float32 in 0..1 with the generator to draw from, and returns a new array.

Source: Brooks, Mildenhall, Xue, Chen, Sharlet, Barron, Unprocessing images for learned raw denoising, CVPR 2019, and Guo, Yan,
Zhang, Zuo, Zhang, Toward convolutional blind denoising of real photographs, CVPR 2019, for noise that is added to a mosaic and
goes through the camera; the camera's own denoiser, and the coarse noise that it leaves, are modeled on real photographs.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from dae_runtime.images import decode, encode
from dae_runtime.pixels.arrays import LUMA, convert

Colors = npt.NDArray[np.float32]
Rng = np.random.Generator
GAMMA = 2.2


def add_white(rng: Rng, clean: Colors, level: float) -> Colors:
    """Add white noise, clip and round to 8 bits."""
    return _rounded(clean + np.float32(level) * _normal(rng, clean.shape))


def add_correlated(rng: Rng, clean: Colors, level: float) -> Colors:
    """Add blurred noise of brightness and of color, each with its own blur; then what a camera does last."""
    shape = clean.shape
    fine = rng.uniform(0, 1.15)
    noise = _unit(blur(_normal(rng, (*shape[:2], 1)), fine))
    color = _normal(rng, shape)
    color = (color - _luma(color)) * np.exp(0.25 * rng.standard_normal(3)).astype(np.float32)
    color = _unit(blur(color, fine + rng.uniform(0, 1.8)))
    noise = noise + np.float32(_log_uniform(rng, 0.03, 1.5)) * color
    noise = noise * np.power(clean + np.float32(0.06), np.float32(rng.uniform(-0.45, 1.0)))
    noise = noise * _left_by_camera(rng, clean)
    if rng.random() < 0.35:
        noise = noise + np.float32(rng.uniform(0.1, 0.9)) * (noise - blur(noise, 1.0))
    return finish(rng, clean + np.float32(level) * _unit(_with_coarse(rng, noise)))


def add_mosaic(rng: Rng, clean: Colors, level: float) -> Colors:
    """Add shot and read noise to a Bayer mosaic; demosaic, balance, mix and blur it, encode with gamma, then as the camera."""
    linear = np.power(clean, np.float32(GAMMA))
    balance = np.array([rng.uniform(1.4, 2.4), 1, rng.uniform(1.3, 2.2)], np.float32)
    shot = _log_uniform(rng, 3e-4, 2e-2)
    read = math.exp(2.18 * math.log(shot) + 1.2 + 0.3 * rng.standard_normal())
    down, across = np.indices(clean.shape[:2]) % 2
    places = np.stack([(down == 0) & (across == 0), down != across, (down == 1) & (across == 1)], axis=-1)
    variance = (linear / balance * places).sum(axis=-1, keepdims=True) * shot + read
    raw = _normal(rng, (*clean.shape[:2], 1)) * np.sqrt(variance).astype(np.float32) * places
    green = _filter3(raw[..., 1], (0, 0.25, 1))
    red, blue = (_filter3(raw[..., channel], (0.25, 0.5, 1)) for channel in (0, 2))
    noise = np.stack([red, green, blue], axis=-1) * balance
    noise = noise + np.float32(rng.uniform(0, 0.6)) * (noise - noise.mean(axis=-1, keepdims=True))
    soft = rng.uniform(0.3, 1.0) if rng.random() < 0.6 else 0.0
    gray = np.broadcast_to(_luma(noise), noise.shape)
    color = blur(noise - gray, soft + rng.uniform(0, 1.8)) * np.float32(_log_uniform(rng, 0.05, 1))
    noise = _with_coarse(rng, (blur(gray, soft) + color) * _left_by_camera(rng, clean))
    gain = 1.0
    for _ in range(3):  # gamma bends it: three steps come within a percent of the level
        noisy = np.power(np.clip(linear + np.float32(gain) * noise, 1e-5, 1), np.float32(1 / GAMMA))
        gain *= level / max(math.sqrt(float(np.mean(np.square(noisy - clean)))), 1e-6)
    return finish(rng, np.power(np.clip(linear + np.float32(gain) * noise, 1e-5, 1), np.float32(1 / GAMMA)))


def finish(rng: Rng, colors: Colors) -> Colors:
    """Round to 8 bits; two of three images go through JPEG of quality 75 to 98, half of these with halved chroma."""
    rounded = _rounded(colors)
    if rng.random() >= 0.65:
        return rounded
    options = {"Q": int(rng.integers(75, 99)), "subsample_mode": str(rng.choice(["on", "off"]))}
    content = encode(convert(rounded, np.uint8), "jpeg", {"compression": ("jpeg", options)})
    return convert(decode(content).pixels, np.float32)


def blur(planes: Colors, sigma_px: float) -> Colors:
    """Blur (H, W, C) with a Gaussian; below a tenth of a pixel it stays as it is."""
    if sigma_px < 0.1:
        return planes
    reach = math.ceil(3 * sigma_px)
    taps = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / sigma_px))
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (0, 1):
        length = planes.shape[axis]
        padded = np.pad(planes, [(reach, reach) if number == axis else (0, 0) for number in range(3)], mode="reflect")
        planes = np.zeros_like(planes)
        for start, tap in enumerate(taps):
            planes += np.take(padded, range(start, start + length), axis) * tap
    return planes


def _with_coarse(rng: Rng, noise: Colors) -> Colors:
    """Add blotches, mostly of brightness, of up to 0.7 times the noise: what a camera's denoiser does not reach."""
    if rng.random() < 0.4:
        return noise
    height, width, _ = noise.shape
    size_px = rng.uniform(1.5, 4)
    step = 2 if size_px < 3 else 3
    coarse = _normal(rng, (-(-height // step), -(-width // step), 3))
    coarse = coarse.mean(axis=-1, keepdims=True) * np.float32(3**0.5) + np.float32(rng.uniform(0, 0.5)) * coarse
    coarse = blur(coarse, 1.3 * size_px / step).repeat(step, 0).repeat(step, 1)[:height, :width]
    strength = rng.uniform(0.1, 0.7) * math.sqrt(float(np.mean(np.square(noise))))
    return noise + np.float32(strength) * _unit(coarse)


def _left_by_camera(rng: Rng, clean: Colors) -> Colors:
    """Return what a camera's own denoiser leaves of the noise, for half of the images less in flat parts; (H, W, 1) or 1."""
    if rng.random() < 0.5:
        return np.ones((1, 1, 1), np.float32)
    luma = _luma(clean)
    activity = blur(np.abs(luma - blur(luma, 1.5)), 2.5)
    knee, left = np.float32(_log_uniform(rng, 0.004, 0.04)), np.float32(rng.uniform(0.15, 0.9))
    return left + (1 - left) * activity / (activity + knee)


def _filter3(plane: npt.NDArray[np.float32], weights: tuple[float, float, float]) -> npt.NDArray[np.float32]:
    """Filter with 3 x 3 weights: of the corners, of the edges, of the middle."""
    padded = np.pad(plane, 1, mode="reflect")
    height, width = plane.shape
    total = np.zeros_like(plane)
    for top in range(3):
        for left in range(3):
            weight = weights[(top == 1) + (left == 1)]
            total += np.float32(weight) * padded[top : top + height, left : left + width]
    return total


def _normal(rng: Rng, shape: tuple[int, ...]) -> Colors:
    return rng.standard_normal(shape, dtype=np.float32)


def _unit(noise: Colors) -> Colors:
    return noise / np.float32(max(math.sqrt(float(np.mean(np.square(noise)))), 1e-9))


def _luma(colors: Colors) -> Colors:
    luma: Colors = (colors @ np.array(LUMA))[..., None]
    return luma


def _log_uniform(rng: Rng, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _rounded(colors: Colors) -> Colors:
    return convert(convert(colors, np.uint8), np.float32)
