"""The figures of a whole run on the page of its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .._version import __version__
from ..contract import Contract


@dataclass(frozen=True)
class RunSummary:
    """The figures of a whole run."""

    models: tuple[Contract, ...]
    """All models used by this run; none only with a title."""
    device: str
    seconds: float
    """Wall time of the run."""
    done: int
    """Files with an output, those of earlier runs too."""
    failed: int
    compared: int
    """Files with a reference."""
    mean_scores: Mapping[str, float]
    """Means over these files, by field name of `scores.Scores`."""
    errors: tuple[str, ...]
    """Errors of the first failed files."""
    not_shown: tuple[str, ...] = ()
    """Reasons why selected images are not shown."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """By what people call it, such as `thumbnail`: in how many outputs metadata of their inputs are missing."""
    fallen: int = 0
    """Files whose PSNR against the reference fell."""
    worst: tuple[str, float] | None = None
    """The one that fell most, and by how many dB."""
    kept: int = 0
    """Those of `done` that an earlier run has done."""
    edited: int = 0
    """Outputs of an earlier run that another program has changed since; not in `done`."""
    title: str | None = None
    """What has denoised the images, where it is not `models` alone."""
    version: str = __version__
