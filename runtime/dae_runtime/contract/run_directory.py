"""The files of a training run.

`dae-train` writes these files, `dae-export` reads them. Standard library only.
"""

from __future__ import annotations

import os
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DaeError


@dataclass(frozen=True)
class RunDirectory:
    """Paths of a run directory; reads and creates nothing."""

    root: Path

    @property
    def best_model(self) -> Path:
        """Keras model of the epoch with the lowest validation loss."""
        return self.root / "model.keras"

    @property
    def last_model(self) -> Path:
        """Keras model of the last epoch with its optimizer; `--resume` continues from it."""
        return self.root / "last.keras"

    @property
    def description(self) -> Path:
        """Everything needed to repeat the run, as TOML."""
        return self.root / "run.toml"

    @property
    def result(self) -> Path:
        """Figures measured at the end of the run, as TOML."""
        return self.root / "result.toml"

    @property
    def history(self) -> Path:
        """One row per finished epoch, as CSV."""
        return self.root / "history.csv"

    @property
    def curves(self) -> Path:
        """Plot of the history."""
        return self.root / "curves.png"

    @property
    def samples(self) -> Path:
        """Rows of noisy, denoised and clean images."""
        return self.root / "samples.png"

    @property
    def latent(self) -> Path:
        """Scatter plot of a vector latent by label, with the convex hull of each class."""
        return self.root / "latent.png"

    @property
    def calibration(self) -> Path:
        """Samples for INT8, as float32 arrays (N, H, W, C) in [0, 1].

        `noisy` and `clean` (same shape) set the ranges, `test_noisy` and `test_clean` judge the result.
        """
        return self.root / "calibration.npz"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard event files."""
        return self.root / "tensorboard"


def read_description(run: RunDirectory) -> dict[str, Any]:
    """Read `run.toml`.

    Returns:
        The tables `model` (`preset`, `channels` and the network's settings), `noise` (`spec`, `clip`), `data`, `training`
        and `versions`.

    Raises:
        DaeError: The file is missing or no TOML.
    """
    try:
        if not stat.S_ISREG(run.description.stat().st_mode):  # reading a pipe would wait for its writer
            raise ValueError("it is no regular file")
        return tomllib.loads(run.description.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DaeError(
            f"{os.fspath(run.root)} is not a run directory: it has no {run.description.name}. "
            "Give the folder that dae-train wrote with --output."
        ) from error
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, not TOML, or a number of too many digits
        reason = getattr(error, "strerror", None) or error
        raise DaeError(f"{run.description} cannot be read: {reason}. Train again, or repair the file.") from error
