"""The history of a run: metrics of each epoch in a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Container, Sequence
from pathlib import Path

from dae_runtime.system.atomic import write_atomic
from dae_runtime.system.paths import read_regular, reason_of

from ..errors import RunError

COLUMNS = ("epoch", "step", "loss", "val_loss", "val_psnr", "val_ssim", "lr", "seconds", "images_per_s", "waiting")
"""`epoch` counts from 1; `step` counts weight updates; `val_psnr` is in dB; `lr` is the learning rate after the epoch;
`seconds` includes validation; `images_per_s` counts images or crops, without validation and compilation; `waiting` is the
fraction of that time in which the device had no batch."""
VALIDATION_METRICS = ("val_psnr", "val_est_psnr", "val_ssim")
"""Columns that depend on the supervision: runs without clean images have `val_est_psnr` (see `validation`) or none of them."""

Row = dict[str, float]


def read_history(path: Path) -> list[Row]:
    """Read the rows of a history file; none if it does not exist.

    Raises:
        RunError: The file is damaged.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_regular(path).decode("utf-8"), newline=""))
        columns = columns_of(reader.fieldnames or ())
        return [{name: float(row[name]) for name in columns} for row in reader]
    except FileNotFoundError:
        return []
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged ({reason_of(error)}). Start the run again with --overwrite.") from error


def write_history(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows atomically, with all digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = columns_of(rows[0]) if rows else COLUMNS
    writer.writerow(columns)
    for row in rows:
        writer.writerow([int(row[name]) if name in ("epoch", "step") else repr(row[name]) for name in columns])
    write_atomic(path, text.getvalue().encode())


def columns_of(names: Container[str]) -> tuple[str, ...]:
    """Return the columns of a history in order: of `VALIDATION_METRICS` only those in `names`."""
    judged = [name for name in VALIDATION_METRICS if name in names]
    first, last = COLUMNS.index("val_psnr"), COLUMNS.index("val_ssim") + 1
    return (*COLUMNS[:first], *judged, *COLUMNS[last:])


def best_epoch(rows: Sequence[Row]) -> Row:
    """Return the first row with the lowest validation loss."""
    return min(rows, key=lambda row: row["val_loss"])


def out_of_patience(rows: Sequence[Row], patience: int) -> bool:
    """Return whether the last `patience` epochs brought no lower validation loss; never if it is 0."""
    return bool(patience and rows and rows[-1]["epoch"] - best_epoch(rows)["epoch"] >= patience)
