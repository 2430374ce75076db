"""Quality of a file on noisy samples, and its loss against float32."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np

from dae_runtime.contract import Quality
from dae_runtime.engine.session import open_session, run_session
from dae_runtime.pixels.arrays import FloatArray, convert
from dae_runtime.pixels.metrics import psnr_of_mse

from .batches import Batch, as_taken, images_of
from .details import IMAGES, Details, DetailsCollector, Stack
from .samples import Samples

LARGEST_PSNR_DB = 100.0
"""Limit of PSNR: that of equal images is infinite, which JSON cannot represent."""
REMAINING_NOISE = 0.1
"""Fraction of the noise power that a denoiser typically leaves; used without clean images.

About a tenth on gray photographs with sigma 25/255 (20.2 dB becomes 29 to 30) and on digits with sigma 0.5 (9.4 becomes 20).
"""


@dataclass(frozen=True)
class Judgment:
    """A file compared with the float32 model on samples not used for calibration. Outputs are clipped to [0, 1]."""

    samples: int
    agreement_db: float
    """PSNR of the output against the float32 output."""
    drop_db: float
    """Loss of PSNR; estimated without clean references."""
    color_shift: tuple[float, ...]
    """Mean of output minus float32 output for each channel, in 8-bit steps."""
    quality: Quality | None
    """None without clean references."""
    details: Details = field(default=Details(), repr=False)
    """For a report; empty unless requested."""

    @property
    def psnr_db(self) -> dict[str, float]:
        """PSNR of `noisy`, `fp32` and `file`; empty without clean references."""
        q = self.quality
        return {} if q is None else dict(zip(IMAGES, (q.noisy_psnr_db, q.fp32_psnr_db, q.psnr_db), strict=True))


def judge(fp32: bytes, candidate: bytes, samples: Samples, details: bool = False) -> Judgment:
    """Compare a candidate with the float32 model.

    Every PSNR is that of the mean squared error over all samples, outputs clipped to [0, 1].

    Args:
        fp32: Content of the float32 file.
        candidate: Content of the file to judge, float32 or uint8; run once if it equals `fp32`.
        samples: Noisy images and, if available, clean references.
        details: Whether to collect details for a report.
    """
    reference = open_session(fp32, "cpu")
    return judge_sessions(reference, reference if candidate == fp32 else open_session(candidate, "cpu"), samples, details)


def judge_sessions(reference: Any, candidate: Any, samples: Samples, details: bool = False) -> Judgment:
    """Compare two opened models as in `judge`; the first is the float32 model.

    Args:
        reference: From `dae_runtime.engine.open_session` or `open_model`.
        candidate: Likewise.
        samples: Noisy images and, if available, clean references.
        details: Whether to collect details for a report.
    """
    errors, collector = _Errors(), DetailsCollector(samples.source)
    for stack in _stacks(reference, candidate, samples):
        errors.add(stack)
        if details:
            collector.add(stack)
    return errors.judgment(samples, collector.details() if details else Details())


def run_on_floats(session: Any, batch: Batch) -> FloatArray:
    """Run a float32 or uint8 model on float images.

    Args:
        session: From `dae_runtime.engine.session.open_session`.
        batch: (N, H, W, C) float32, nominally in [0, 1], with the levels that the model takes; images are rounded to 8 bits
            for a uint8 model.

    Returns:
        A new float32 array of the same shape, in steps of 1/255 from a uint8 model.
    """
    return convert(run_session(session, *as_taken(session, batch)), np.float32)


def _stacks(reference: Any, candidate: Any, samples: Samples) -> Iterator[Stack]:
    for batch, clean in zip(samples.test, samples.clean or repeat(None), strict=bool(samples.clean)):
        fp32 = np.clip(run_on_floats(reference, batch), 0, 1)
        file = fp32 if candidate is reference else np.clip(run_on_floats(candidate, batch), 0, 1)
        stack = {"noisy": images_of(batch), "fp32": fp32, "file": file}
        yield stack if clean is None else {**stack, "clean": images_of(clean)}


class _Errors:
    """Squared errors, summed over batches in float64."""

    def __init__(self) -> None:
        self.sums = dict.fromkeys((*IMAGES, "between", "removed"), 0.0)
        self.values = 0
        self.shift = np.zeros(1)
        self.pixels = 0

    def add(self, stack: Stack) -> None:
        noisy, fp32, file = (stack[name] for name in IMAGES)
        self.values += noisy.size
        self.pixels += noisy.size // noisy.shape[3]
        self.shift = self.shift + np.sum(file.astype(np.float64) - fp32, axis=(0, 1, 2))
        self._add("between", fp32, file)
        self._add("removed", noisy, fp32)
        if "clean" in stack:
            for name in IMAGES:
                self._add(name, stack["clean"], stack[name])

    def _add(self, name: str, first: FloatArray, second: FloatArray) -> None:
        self.sums[name] += float(np.sum(np.square(first.astype(np.float64) - second)))

    def psnr_db(self, name: str) -> float:
        return psnr_of_mse(self.sums[name] / self.values, largest_db=LARGEST_PSNR_DB)

    def judgment(self, samples: Samples, details: Details) -> Judgment:
        shift = tuple(float(s) * 255 / self.pixels for s in self.shift)
        agreement_db, count = self.psnr_db("between"), samples.test.count
        if not samples.clean:
            return Judgment(count, agreement_db, self._estimated_drop_db(), shift, None, details)
        figures = [self.psnr_db(name) for name in IMAGES]
        return Judgment(count, agreement_db, figures[1] - figures[2], shift, Quality(count, *figures), details)

    def _estimated_drop_db(self) -> float:
        """Add the quantization error to the remaining noise: 10 log10(1 + q / (share * removed))."""
        remaining = REMAINING_NOISE * self.sums["removed"]
        if self.sums["between"] == 0:
            return 0.0
        return math.inf if remaining == 0 else 10 * math.log10(1 + self.sums["between"] / remaining)
