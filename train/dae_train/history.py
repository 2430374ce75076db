"""The figures of each finished epoch, kept as a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from dae_runtime.atomic import write_atomic

from .errors import RunError

COLUMNS = ("epoch", "step", "loss", "val_loss", "val_psnr", "val_ssim", "lr", "seconds")
"""`epoch` counts from 1; `step` is the number of weight updates since the beginning; `val_psnr` is in dB; `lr` is the learning
rate after the epoch; `seconds` is how long the epoch took, judging it included."""

Row = dict[str, float]


def read_history(path: Path) -> list[Row]:
    """Read the rows of a history file; none if there is no file.

    Raises:
        RunError: The file is damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: float(row[name]) for name in COLUMNS} for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}). Start the run again with --overwrite.") from error


def write_history(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows so that the file is whole or not there; numbers keep all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([int(row[name]) if name in ("epoch", "step") else repr(row[name]) for name in COLUMNS])
    write_atomic(path, text.getvalue().encode())


def best_epoch(rows: Sequence[Row]) -> Row:
    """Return the row with the lowest validation loss, the first of equals."""
    return min(rows, key=lambda row: row["val_loss"])


def out_of_patience(rows: Sequence[Row], patience: int) -> bool:
    """Say whether the last `patience` epochs brought no lower validation loss; never if it is 0."""
    return bool(patience and rows and rows[-1]["epoch"] - best_epoch(rows)["epoch"] >= patience)
