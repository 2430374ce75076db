"""How good a file is on noisy samples, and what an INT8 version loses against float32."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dae_runtime.contract import Quality
from dae_runtime.engine.session import open_session
from dae_runtime.pixels.metrics import psnr_of_mse

from .running import run_on_floats
from .samples import Samples

FloatArray = npt.NDArray[np.float32]

LARGEST_PSNR_DB = 100.0
"""Figures stop here: equal images would have an infinite PSNR, which JSON cannot hold."""
REMAINING_NOISE = 0.1
"""Share of the noise power that a denoiser typically leaves; used where no clean image can tell.

About a tenth on gray photographs with sigma 25/255 (20.2 dB becomes 29 to 30) and on digits with sigma 0.5 (9.4 becomes 20).
"""


@dataclass(frozen=True)
class Judgment:
    """An INT8 version compared with the float32 model on samples that the calibration did not see."""

    samples: int
    agreement_db: float
    """PSNR of the INT8 output against the float32 output."""
    drop_db: float
    """PSNR that INT8 costs; an estimate where there are no clean references."""
    color_shift: tuple[float, ...]
    """Mean of INT8 minus float32 for each channel, in 8-bit steps."""
    quality: Quality | None
    """None without clean references."""


def measure_quality(model: bytes, samples: Samples) -> Quality | None:
    """Return the quality of a float32 model, or None without clean references."""
    if samples.clean is None:
        return None
    judgment = judge(model, model, samples)
    return judgment.quality


def judge(fp32: bytes, candidate: bytes, samples: Samples) -> Judgment:
    """Compare a candidate with the float32 model.

    Every PSNR is that of the mean squared error over all samples, outputs clipped to [0, 1].

    Args:
        fp32: Content of the float32 file.
        candidate: Content of the file to judge, of either kind of edge.
        samples: Noisy images and, if there are, their clean references.
    """
    return judge_sessions(open_session(fp32, "cpu"), open_session(candidate, "cpu"), samples)


def judge_sessions(reference: Any, candidate: Any, samples: Samples) -> Judgment:
    """Compare two opened models as `judge` does; the first stands for the float32 model.

    Args:
        reference: From `dae_runtime.engine.open_session` or `open_model`.
        candidate: Likewise.
        samples: Noisy images and, if there are, their clean references.
    """
    sessions = [reference, candidate]
    errors = _Errors()
    for noisy, clean in _pairs(samples):
        outputs = [np.clip(run_on_floats(session, noisy), 0, 1).astype(np.float32) for session in sessions]
        errors.add(noisy, clean, *outputs)
    return errors.judgment(samples)


def _pairs(samples: Samples) -> list[tuple[FloatArray, FloatArray | None]] | zip[tuple[FloatArray, FloatArray | None]]:
    return zip(samples.test, samples.clean, strict=True) if samples.clean else [(noisy, None) for noisy in samples.test]


class _Errors:
    """Squared errors, summed over batches in double precision."""

    def __init__(self) -> None:
        self.sums = dict.fromkeys(("noisy", "fp32", "candidate", "between", "removed"), 0.0)
        self.values = 0
        self.shift = np.zeros(1)
        self.pixels = 0

    def add(self, noisy: FloatArray, clean: FloatArray | None, fp32: FloatArray, candidate: FloatArray) -> None:
        self.values += noisy.size
        self.pixels += noisy.size // noisy.shape[3]
        self.shift = self.shift + np.sum(candidate.astype(np.float64) - fp32, axis=(0, 1, 2))
        self._add("between", fp32, candidate)
        self._add("removed", noisy, fp32)
        if clean is not None:
            for name, image in (("noisy", noisy), ("fp32", fp32), ("candidate", candidate)):
                self._add(name, clean, image)

    def _add(self, name: str, first: FloatArray, second: FloatArray) -> None:
        self.sums[name] += float(np.sum(np.square(first.astype(np.float64) - second)))

    def psnr_db(self, name: str) -> float:
        return psnr_of_mse(self.sums[name] / self.values, largest_db=LARGEST_PSNR_DB)

    def judgment(self, samples: Samples) -> Judgment:
        shift = tuple(float(s) * 255 / self.pixels for s in self.shift)
        if samples.clean:
            figures = [self.psnr_db(name) for name in ("noisy", "fp32", "candidate")]
            quality = Quality(samples.test.count, *figures)
            return Judgment(samples.test.count, self.psnr_db("between"), figures[1] - figures[2], shift, quality)
        return Judgment(samples.test.count, self.psnr_db("between"), self._estimated_drop_db(), shift, None)

    def _estimated_drop_db(self) -> float:
        """The error of quantization adds to the noise that the float32 model leaves: 10 log10(1 + q / (share * removed))."""
        remaining = REMAINING_NOISE * self.sums["removed"]
        if self.sums["between"] == 0:
            return 0.0
        return math.inf if remaining == 0 else 10 * math.log10(1 + self.sums["between"] / remaining)
