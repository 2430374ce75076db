"""How good a file is on noisy samples, and whether an INT8 version is good enough."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from dae_runtime.contract import Quality
from dae_runtime.engine import open_session, run_session

from .errors import GateError
from .quantize import Ranges, quantize, weighted_nodes
from .samples import Samples

FloatArray = npt.NDArray[np.float32]

LARGEST_PSNR_DB = 100.0
"""Figures stop here: equal images would have an infinite PSNR, which JSON cannot hold."""
REMAINING_NOISE = 0.1
"""Share of the noise power that a denoiser typically leaves; used where no clean image can tell.

About a tenth on gray photographs with sigma 25/255 (20.2 dB becomes 29 to 30) and on digits with sigma 0.5 (9.4 becomes 20).
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judgment:
    """An INT8 version compared with the float32 model on samples that the calibration did not see."""

    samples: int
    agreement_db: float
    """PSNR of the INT8 output against the float32 output."""
    drop_db: float
    """PSNR that INT8 costs; an estimate where there are no clean references."""
    quality: Quality | None
    """None without clean references."""


@dataclass(frozen=True)
class Quantized:
    """An INT8 model that passed the gate."""

    model: onnx.ModelProto
    judgment: Judgment
    float_nodes: tuple[str, ...]
    """Names of the nodes with weights that stayed in float."""


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
        candidate: Content of the file to judge.
        samples: Noisy images and, if there are, their clean references.
    """
    sessions = [open_session(content, "cpu") for content in (fp32, candidate)]
    errors = _Errors()
    for noisy, clean in _pairs(samples):
        outputs = [np.clip(run_session(session, noisy), 0, 1).astype(np.float32) for session in sessions]
        errors.add(noisy, clean, *outputs)
    return errors.judgment(samples)


def quantize_within(model: onnx.ModelProto, ranges: Ranges, samples: Samples, max_drop_db: float) -> Quantized:
    """Quantize a model, leaving the last or the outermost layers in float if that is what the gate takes.

    Args:
        model: The float32 model.
        ranges: From `calibrate` with the same model.
        samples: What judges the result.
        max_drop_db: Largest PSNR drop that is allowed, in dB.

    Raises:
        GateError: Every version loses more.
    """
    fp32 = model.SerializeToString()
    drops = []
    for float_nodes in _attempts(model):
        candidate = quantize(model, ranges, _with_neighbors(model, float_nodes))
        judgment = judge(fp32, candidate.SerializeToString(), samples)
        logger.info("INT8 with %s in float: %.3f dB lost", ", ".join(float_nodes) or "no layer", judgment.drop_db)
        if judgment.drop_db <= max_drop_db:
            return Quantized(candidate, judgment, float_nodes)
        drops.append(judgment.drop_db)
    estimate = "" if samples.clean else " (estimated: there are no clean references)"
    raise GateError(
        f"INT8 would lose {drops[0]:.3f} dB of PSNR{estimate}, and {min(drops):.3f} dB with the outermost layers in float; at "
        f"most {max_drop_db:g} dB is allowed. Calibrate with more typical images (--calibration-data), try another "
        "--calibration-method, or allow more with --max-psnr-drop."
    )


def _attempts(model: onnx.ModelProto) -> list[tuple[str, ...]]:
    """Return which layers to leave in float, in the order of trying; at least one always stays in integers."""
    nodes = weighted_nodes(model)
    choices: list[tuple[str, ...]] = [(), tuple(nodes[-1:]), tuple(nodes[:1] + nodes[-1:])]
    return [choice for choice in choices if not choice or set(choice) < set(nodes)]


def _with_neighbors(model: onnx.ModelProto, float_nodes: tuple[str, ...]) -> list[str]:
    """Add what lies between those nodes and the edges of the graph: it would quantize what they leave in float."""
    names = [node.name for node in model.graph.node]
    weighted = weighted_nodes(model)
    chosen = set(float_nodes)
    if weighted and weighted[-1] in chosen:
        chosen |= set(names[names.index(weighted[-1]) :])
    if weighted and weighted[0] in chosen:
        chosen |= set(names[: names.index(weighted[0])])
    return sorted(chosen)


def _pairs(samples: Samples) -> list[tuple[FloatArray, FloatArray | None]] | zip[tuple[FloatArray, FloatArray | None]]:
    return zip(samples.test, samples.clean, strict=True) if samples.clean else [(noisy, None) for noisy in samples.test]


class _Errors:
    """Squared errors, summed over batches in double precision."""

    def __init__(self) -> None:
        self.sums = dict.fromkeys(("noisy", "fp32", "candidate", "between", "removed"), 0.0)
        self.values = 0

    def add(self, noisy: FloatArray, clean: FloatArray | None, fp32: FloatArray, candidate: FloatArray) -> None:
        self.values += noisy.size
        self._add("between", fp32, candidate)
        self._add("removed", noisy, fp32)
        if clean is not None:
            for name, image in (("noisy", noisy), ("fp32", fp32), ("candidate", candidate)):
                self._add(name, clean, image)

    def _add(self, name: str, first: FloatArray, second: FloatArray) -> None:
        self.sums[name] += float(np.sum(np.square(first.astype(np.float64) - second)))

    def psnr_db(self, name: str) -> float:
        mean = self.sums[name] / self.values
        return LARGEST_PSNR_DB if mean == 0 else min(-10 * math.log10(mean), LARGEST_PSNR_DB)

    def judgment(self, samples: Samples) -> Judgment:
        if samples.clean:
            figures = [self.psnr_db(name) for name in ("noisy", "fp32", "candidate")]
            quality = Quality(samples.test.count, *figures)
            return Judgment(samples.test.count, self.psnr_db("between"), figures[1] - figures[2], quality)
        return Judgment(samples.test.count, self.psnr_db("between"), self._estimated_drop_db(), None)

    def _estimated_drop_db(self) -> float:
        """The error of quantization adds to the noise that the float32 model leaves: 10 log10(1 + q / (share * removed))."""
        remaining = REMAINING_NOISE * self.sums["removed"]
        if self.sums["between"] == 0:
            return 0.0
        return math.inf if remaining == 0 else 10 * math.log10(1 + self.sums["between"] / remaining)
