"""Noise that is asked for as `fit:FOLDER`: that of a sensor, or, where neighbors share it, that of a camera."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dae_runtime.system.command import import_quietly
from dae_runtime.system.paths import is_folder

from ..errors import DataError
from ..settings.noise import FitRequest
from .fit_sensor import FAINT, WHITE_UP_TO, CorrelatedNoiseError, NoiseFit, fit_folder

if TYPE_CHECKING:
    from .fit_camera import CameraFit

_LOG = logging.getLogger("dae_train")

SPREAD = 0.5, 1.5
"""Factors for the standard deviation of noise, of what a network that is given the level learns around it."""
_MIDDLE = 0.5


def check_request(request: FitRequest) -> None:
    """Check that the folder of a request exists, without reading it.

    Raises:
        DataError: It does not.
    """
    if not is_folder(request.folder):
        raise DataError(f"noise {request.text!r}: {request.folder} is not a folder. Give a folder of noisy images.")


def resolve(request: FitRequest, leveled: bool = False) -> tuple[str, dict[str, Any]]:
    """Return the noise specification for a request, and a record of the fit: of a sensor's noise, or of a camera's.

    Args:
        request: The folder, and factors for the noise.
        leveled: Whether it is for a network that is given the noise level. It learns a range: where the request has no
            factors, `SPREAD` are those of a sensor's noise; a camera's is a range anyway.

    Raises:
        DataError: As `check_request`, `fit_folder`, and for correlated noise `fit_camera_folder`.
    """
    check_request(request)
    folder = Path(request.folder)
    fit = _fit_any(folder)
    if isinstance(fit, NoiseFit) and fit.deviation(_MIDDLE) < FAINT:
        size = fit.deviation(_MIDDLE) * 255
        _LOG.warning("noise is negligible (%.1f of 255): the images are clean, smoothed or compressed", size)
    factors = request.low, request.high
    if leveled and isinstance(fit, NoiseFit) and factors == (1.0, 1.0):
        factors = SPREAD
    spec = fit.spec(*factors)
    _LOG.info("noise fitted to images of %s: %s", folder, spec)
    return spec, {"request": request.text, "spec": spec, **fit.record()}


def _fit_any(folder: Path) -> NoiseFit | CameraFit:
    try:
        white: NoiseFit | None = fit_folder(folder)
    except CorrelatedNoiseError:
        white = None
    if white is not None and (white.deviation(_MIDDLE) >= FAINT or white.structure <= WHITE_UP_TO):
        return white
    import_quietly("keras")
    from .fit_camera import fit_camera_folder

    _LOG.info("measuring correlated noise by making pictures; this takes up to a minute")
    try:
        found = fit_camera_folder(folder) or white
    except DataError:
        if white is None:
            raise
        found = white
    if found is None:
        raise DataError(
            f"the noise of {folder} cannot be measured: it is correlated between pixels, and weaker than any that the recipe "
            "camera makes. Name a recipe, or train on the noisy images themselves."
        )
    return found
