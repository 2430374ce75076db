"""What the page of a report says about the run as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .._version import __version__
from ..contract import Contract


@dataclass(frozen=True)
class RunSummary:
    """What the page says about the run as a whole."""

    models: tuple[Contract, ...]
    """All that worked; one at least."""
    device: str
    seconds: float
    """Wall time of the run."""
    done: int
    failed: int
    compared: int
    """Files that had a reference."""
    mean_scores: Mapping[str, float]
    """Means over those files, by the names of the fields of `scores.Scores`."""
    errors: tuple[str, ...]
    """Of the first failed files."""
    not_shown: tuple[str, ...] = ()
    """Why images that were to be shown are not."""
    version: str = __version__
