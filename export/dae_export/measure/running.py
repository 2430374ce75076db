"""Running a model on float images, whatever its edges are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dae_runtime.engine.session import run_session
from dae_runtime.pixels.arrays import convert

FloatArray = npt.NDArray[np.float32]


def takes_pixels(session: Any) -> bool:
    """Tell whether an opened model takes and returns uint8, not float32."""
    return bool(session.get_inputs()[0].type == "tensor(uint8)")


def run_on_floats(session: Any, noisy: FloatArray) -> FloatArray:
    """Run a model of either kind of edge on float images.

    Args:
        session: From `dae_runtime.engine.session.open_session`.
        noisy: (N, H, W, C) float32, nominally in [0, 1]; a uint8 model gets them rounded to 8 bits.

    Returns:
        A new float32 array of the same shape; from a uint8 model in steps of 1/255.
    """
    denoised = run_session(session, convert(noisy, np.uint8 if takes_pixels(session) else np.float32))
    return convert(denoised, np.float32)
