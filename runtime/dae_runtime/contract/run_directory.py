"""What a training run leaves on the disk: the one place that knows the file names.

`dae-train` writes these files, `dae-export` reads them; this module is what the two share. Standard library only.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DaeError


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run directory; nothing is read or created by making one."""

    root: Path

    @property
    def best_model(self) -> Path:
        """Keras model of the epoch with the lowest validation loss."""
        return self.root / "model.keras"

    @property
    def last_model(self) -> Path:
        """Keras model of the last epoch with its optimizer: what `--resume` continues from."""
        return self.root / "last.keras"

    @property
    def description(self) -> Path:
        """Everything needed to repeat the run, as TOML."""
        return self.root / "run.toml"

    @property
    def result(self) -> Path:
        """Figures measured when the run ended, as TOML."""
        return self.root / "result.toml"

    @property
    def history(self) -> Path:
        """One row per finished epoch, as CSV."""
        return self.root / "history.csv"

    @property
    def curves(self) -> Path:
        """Picture of the history."""
        return self.root / "curves.png"

    @property
    def samples(self) -> Path:
        """Picture with rows of noisy, denoised and clean images."""
        return self.root / "samples.png"

    @property
    def latent(self) -> Path:
        """Scatter picture of a vector latent by label, with each class's convex hull."""
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
        return tomllib.loads(run.description.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DaeError(
            f"{os.fspath(run.root)} is not a run directory: it has no {run.description.name}. "
            "Give the folder that dae-train wrote with --output."
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DaeError(f"{run.description} cannot be read: {error}. Train again, or repair the file.") from error
