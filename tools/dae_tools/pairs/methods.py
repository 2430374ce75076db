"""Denoisers of other packages, to compare a model with: non-local means, BM3D, and wavelet thresholds.

The packages stand beside those of the project: `pip install opencv-python-headless bm3d scikit-image`. The license of bm3d
allows non-commercial use only.

Sources:
    Buades, Coll, Morel: A non-local algorithm for image denoising. CVPR 2005 (OpenCV).
    Makinen, Azzari, Foi: Collaborative filtering of correlated noise. IEEE Transactions on Image Processing 29, 2020 (bm3d).
    Chang, Yu, Vetterli: Adaptive wavelet thresholding for image denoising and compression. IEEE Transactions on Image
    Processing 9(9), 2000 (BayesShrink, scikit-image).
    Donoho, Johnstone: Ideal spatial adaptation by wavelet shrinkage. Biometrika 81(3), 1994 (scikit-image's sigma).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dae_runtime.errors import MissingDependencyError
from dae_runtime.pixels.arrays import Array, convert

Setting = float | None
"""How strong the noise is taken to be, on the scale of 0 to 255; None: as the method estimates it."""
PACKAGES = {"cv2": "opencv-python-headless", "bm3d": "bm3d", "skimage": "scikit-image"}
_WINDOWS_PX = 7, 21
"""Patch and search window that OpenCV recommends."""


@dataclass(frozen=True)
class Method:
    """A denoiser of another package."""

    title: str
    unit: str
    """What its setting is called."""
    modules: tuple[str, ...]
    """Keys of `PACKAGES`."""
    usual: tuple[Setting, ...]
    """What it is called with by one who does not know the noise."""
    tried: tuple[float, ...]
    """Among them is the best single setting for a folder."""
    denoise: Callable[[Array, Setting], Array]
    """Maps (H, W) or (H, W, 3), uint8, uint16 or float32 in [0, 1], to a new array of the same shape, uint8 or float32."""


def _nlm(image: Array, setting: Setting) -> Array:
    cv2: Any = importlib.import_module("cv2")
    pixels = np.ascontiguousarray(convert(image, np.uint8))
    if pixels.ndim == 2:
        return np.asarray(cv2.fastNlMeansDenoising(pixels, None, setting, *_WINDOWS_PX))
    return np.asarray(cv2.fastNlMeansDenoisingColored(pixels, None, setting, setting, *_WINDOWS_PX))


def _bm3d(image: Array, setting: Setting) -> Array:
    bm3d: Any = importlib.import_module("bm3d")
    pixels = convert(image, np.float32)
    sigma = _estimated(pixels) if setting is None else setting / 255
    return np.asarray((bm3d.bm3d if pixels.ndim == 2 else bm3d.bm3d_rgb)(pixels, max(sigma, 1e-4)), np.float32)


def _wavelet(image: Array, setting: Setting) -> Array:
    restoration: Any = importlib.import_module("skimage.restoration")
    pixels, color = convert(image, np.float32), image.ndim == 3
    options = {"method": "BayesShrink", "mode": "soft", "rescale_sigma": True, "convert2ycbcr": color}
    sigma = None if setting is None else setting / 255
    channel_axis = -1 if color else None
    return np.asarray(restoration.denoise_wavelet(pixels, sigma, channel_axis=channel_axis, **options), np.float32)


def _estimated(pixels: Array) -> float:
    restoration: Any = importlib.import_module("skimage.restoration")
    channel_axis = -1 if pixels.ndim == 3 else None
    return float(restoration.estimate_sigma(pixels, average_sigmas=True, channel_axis=channel_axis))


METHODS: Mapping[str, Method] = {
    "nlm": Method("NLM", "h", ("cv2",), (3.0, 10.0), (1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 15.0), _nlm),
    "bm3d": Method("BM3D", "sigma", ("bm3d", "skimage"), (None,), (3.0, 5.0, 8.0, 12.0, 18.0), _bm3d),
    "wavelet": Method("BayesShrink", "sigma", ("skimage",), (None,), (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 18.0), _wavelet),
}
"""By their names in `--against`. The usual settings of NLM: OpenCV's default, and what its documentation calls enough."""


def check_installed(names: Iterable[str]) -> None:
    """Check that the packages of methods are installed, without importing them.

    Args:
        names: Keys of `METHODS`.

    Raises:
        MissingDependencyError: One is not; the text names all that are missing.
    """
    modules = dict.fromkeys(module for name in names for module in METHODS[name].modules)
    missing = [PACKAGES[module] for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingDependencyError(
            f"--against {','.join(names)} needs {', '.join(missing)}, which this environment lacks. "
            f"Install: pip install {' '.join(missing)}"
        )


def set_threads(names: Iterable[str], threads: int) -> None:
    """Let OpenCV use as many CPU threads as the model; the other packages have no such setting."""
    if "nlm" in names:
        importlib.import_module("cv2").setNumThreads(threads)
