"""The training part of a card: its words, and the figures of the run directory."""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dae_runtime.contract import RunDirectory, read_description
from dae_runtime.jobs.local import file_sha256
from dae_train.judging.history import read_history

from .errors import CardError

GAUSSIAN, PAIRS, DIGITS = "gaussian", "pairs", "digits"
PROTOCOLS = (GAUSSIAN, PAIRS, DIGITS)
LATE = 0.1
"""The final part of a training that shows whether longer training would help."""
_CURVES = {"val_psnr": "dB of PSNR", "val_est_psnr": "dB of estimated PSNR"}
_ABSOLUTE = re.compile(r"(?<![\w./-])/(?:[^\s\"'/]+/)*([^\s\"'/]+)")


@dataclass(frozen=True)
class CardText:
    """The table `[card]` of a words file."""

    purpose: str
    """Purpose of the model."""
    protocol: str
    """Measurement protocol, one of `PROTOCOLS`."""
    data: str
    """Training data."""
    terms: str
    """License terms of the training data."""
    test_data: str
    """Test data."""
    licence: str
    """License of the weights."""
    repeat: str
    """The command that reproduces model and card."""
    limits: tuple[str, ...] = ()
    """Known limits."""
    published: str | None = None
    """Name of the test images in `published`, if any."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", tuple(self.limits))
        if self.protocol not in PROTOCOLS:
            raise CardError(f"card.protocol must be one of {', '.join(PROTOCOLS)}, not {self.protocol!r}.")
        texts = [self.purpose, self.data, self.terms, self.test_data, self.licence, self.repeat, *self.limits]
        if not all(isinstance(text, str) and text for text in texts):
            raise CardError(f"every entry of [card] must be text that is not empty; received {texts!r}.")


@dataclass(frozen=True)
class LateGain:
    """The gain of the last part of a training."""

    gain: float
    unit: str
    from_step: int
    to_step: int


@dataclass(frozen=True)
class Training:
    """A finished run."""

    command: str
    """As in `run.toml`, absolute paths shortened to their last part."""
    settings: str
    """`run.toml`, likewise."""
    device: str
    parameters: int
    epochs: int
    steps: int
    batch_size: int
    seconds: float
    late: LateGain | None
    """None if the history is too short."""
    noise: str
    clip: bool
    test: Mapping[str, Any] | None
    """Figures of the Keras model on the test images of the data, if any."""
    before: Training | None
    """The finished run that it started from, if present."""
    start: str | None
    """Name or path of the initial network; None: random weights."""


def read_card_text(words: Path) -> CardText:
    """Read the table `[card]` of a TOML file.

    Raises:
        CardError: The file cannot be read, or the table is missing, lacks an entry or holds an unknown one.
    """
    try:
        table = tomllib.loads(words.read_text("utf-8")).get("card")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CardError(f"the words of the card, {words}, cannot be read: {error}. Give a file with --words.") from error
    fields = dataclasses.fields(CardText)
    needed = {field.name for field in fields if field.default is dataclasses.MISSING}
    if not isinstance(table, dict) or needed - set(table):
        missing = ", ".join(sorted(needed - set(table or ())))
        raise CardError(f"{words}: the table [card] lacks {missing}. Write it; docs/models describes it.")
    if unknown := sorted(set(table) - {field.name for field in fields}):
        raise CardError(f"{words}: [card] has unknown keys {', '.join(unknown)}. Known: {', '.join(f.name for f in fields)}.")
    return CardText(**table)


def read_training(folder: Path) -> Training:
    """Read a finished run directory.

    Raises:
        CardError: The run is not finished, or its files are damaged.
        DaeError: The folder is not a run directory, or its history is damaged.
    """
    run = RunDirectory(folder)
    description = read_description(run)
    if not run.result.is_file():
        raise CardError(f"{folder} is not finished: it has no {run.result.name}. Continue it: dae-train --resume -o {folder}")
    rows = read_history(run.history)
    try:
        result = tomllib.loads(run.result.read_text("utf-8"))
        return Training(
            command=shortened(description["command"]),
            settings=shortened(run.description.read_text("utf-8")).strip(),
            device=description["record"]["device"],
            parameters=result["parameters"],
            epochs=result["epochs"],
            steps=int(rows[-1]["step"]),
            batch_size=description["training"]["batch_size"],
            seconds=result["seconds"],
            late=late_gain(rows),
            noise=description["noise"]["spec"],
            clip=description["noise"]["clip"],
            test=result.get("test"),
            before=_before(description["training"]),
            start=description["training"].get("init"),
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise CardError(f"{folder} is damaged: {type(error).__name__}: {error}. Train again, or restore its files.") from error


def _before(training: Mapping[str, Any]) -> Training | None:
    init, expected = training.get("init"), training.get("init_sha256")
    if init is None or not RunDirectory(Path(init)).result.is_file():
        return None
    model = RunDirectory(Path(init)).best_model
    found = file_sha256(model)
    if expected not in (None, found):
        raise CardError(
            f"{model} is not the initial network of this training: expected SHA-256 {expected}, received {found}. "
            "Train the later part again, or restore the earlier one."
        )
    return read_training(Path(init))


def late_gain(rows: list[dict[str, float]]) -> LateGain | None:
    """Return the gain since the last row before 90 % of the steps; None without such a row or a PSNR.

    Args:
        rows: Of the history, each with its `step`.
    """
    column = next((name for name in _CURVES if rows and name in rows[-1]), None)
    before = [row for row in rows if row["step"] <= (1 - LATE) * rows[-1]["step"]]
    if column is None or not before:
        return None
    first, last = before[-1], rows[-1]
    return LateGain(last[column] - first[column], _CURVES[column], int(first["step"]), int(last["step"]))


def shortened(text: str) -> str:
    """Return text with each absolute path replaced by its last part: local folders are of no interest."""
    return _ABSOLUTE.sub(lambda match: os.fspath(match[1]), text)
