"""How the flags of `dae-train` and the settings of a run belong together."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import DEFAULT_PRESETS, GENERAL_PRESET, RECORDS, RunConfig, from_mapping, read_toml, to_mapping
from .errors import ConfigError


@dataclass(frozen=True)
class Flag:
    """A flag and the setting it changes."""

    name: str
    """On the command line; empty for the DATA argument."""
    table: str
    key: str
    negative: str = ""
    """What switches it off, if it is a switch."""


FLAGS: Mapping[str, Flag] = {
    "data": Flag("", "data", "source"),
    "target": Flag("--target", "data", "target"),
    "preset": Flag("--preset", "model", "preset"),
    "channels": Flag("--channels", "model", "channels"),
    "z_dim": Flag("--z-dim", "model", "z_dim"),
    "dropout": Flag("--dropout", "model", "dropout"),
    "batch_norm": Flag("--batch-norm", "model", "batch_norm", "--no-batch-norm"),
    "noise": Flag("--noise", "noise", "spec"),
    "clip": Flag("--clip", "noise", "clip", "--no-clip"),
    "noise_once": Flag("--noise-once", "noise", "once", "--noise-fresh"),
    "patch_size": Flag("--patch-size", "data", "patch_px"),
    "limit": Flag("--limit", "data", "limit"),
    "augment": Flag("--augment", "data", "augment", "--no-augment"),
    "val_split": Flag("--val-split", "data", "validation_fraction"),
    "supervision": Flag("--supervision", "training", "supervision"),
    "val_groups": Flag("--val-groups", "data", "validation_groups"),
    "loss": Flag("--loss", "training", "loss"),
    "epochs": Flag("--epochs", "training", "epochs"),
    "steps": Flag("--steps", "training", "steps"),
    "steps_per_epoch": Flag("--steps-per-epoch", "training", "steps_per_epoch"),
    "batch_size": Flag("--batch-size", "training", "batch_size"),
    "optimizer": Flag("--optimizer", "training", "optimizer"),
    "lr": Flag("--lr", "training", "learning_rate"),
    "schedule": Flag("--schedule", "training", "schedule"),
    "warmup_steps": Flag("--warmup-steps", "training", "warmup_steps"),
    "seed": Flag("--seed", "training", "seed"),
    "deterministic": Flag("--deterministic", "training", "deterministic", "--no-deterministic"),
    "precision": Flag("--precision", "training", "precision"),
    "patience": Flag("--patience", "training", "patience"),
    "ema": Flag("--ema", "training", "ema"),
    "init": Flag("--init", "training", "init"),
    "qat": Flag("--qat", "training", "qat", "--no-qat"),
    "teacher": Flag("--teacher", "training", "teacher"),
    "teacher_weight": Flag("--teacher-weight", "training", "teacher_weight"),
}
"""Flags by their parameter names."""

_DIGESTS = {
    **dict.fromkeys(("source", "target", "limit", "validation_groups"), "sha256"),
    "init": "init_sha256",
    "teacher": "teacher_sha256",
}  # settings that decide which files are meant, and the setting with the digest of those


def merge(config_file: str | None, given: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a file, or the defaults, changed by the flags that were given.

    Args:
        config_file: TOML file or None.
        given: Values by the names of `FLAGS`; those that are None were not given.

    Raises:
        ConfigError: Something is unknown or impossible.
    """
    where = config_file or "the command line"
    document = {} if config_file is None else {k: v for k, v in read_toml(config_file).items() if k not in RECORDS}
    for name, value in _given(given).items():
        flag = FLAGS[name]
        table = document.setdefault(flag.table, {})
        if flag.key in _DIGESTS and table.get(flag.key) != value:
            table.pop(_DIGESTS[flag.key], None)
        table[flag.key] = value
    if given.get("epochs") is not None:
        if given.get("steps") is not None:
            raise ConfigError("--epochs and --steps both say how long to train. Give one of them.")
        document["training"].pop("steps", None)
    return from_mapping(document, where)


def check_same(config: RunConfig, given: Mapping[str, Any]) -> None:
    """Check that flags given to a resumed run say nothing else than the run itself; `epochs` is judged elsewhere.

    Raises:
        ConfigError: Some differ; they are named with both values.
    """
    tables = to_mapping(config)
    differing = [
        f"{FLAGS[name].name or 'DATA'} {value} (the run has {tables[FLAGS[name].table].get(FLAGS[name].key)})"
        for name, value in _given(given).items()
        if name != "epochs" and tables[FLAGS[name].table].get(FLAGS[name].key) != value
    ]
    if differing:
        raise ConfigError(
            f"a resumed run keeps its settings; these differ: {', '.join(differing)}. Leave them out, or start a new run."
        )


def command_line(config: RunConfig) -> str:
    """Return the `dae-train` command that does the same, as far as flags can say it.

    Settings of a network that have no flag are not in it; `dae-train --config RUN/run.toml` repeats those too.
    """
    defaults, wanted = _defaults(config), to_mapping(config)
    words = ["dae-train", config.data.source]
    for flag in FLAGS.values():
        value = wanted[flag.table].get(flag.key)
        if not flag.name or value is None or value == defaults[flag.table].get(flag.key):
            continue
        if flag.negative:
            words.append(flag.name if value else flag.negative)
        else:
            words += [flag.name, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def default_output(config: RunConfig) -> Path:
    """Return the run directory for a run that names none: `runs/DATA-PRESET`."""
    name = Path(config.data.source.rstrip("/")).stem if Path(config.data.source).name else "data"
    safe = re.sub(r"[^\w.-]+", "_", name).strip(".") or "data"
    return Path("runs") / f"{safe}-{config.model.preset}"


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _defaults(config: RunConfig) -> dict[str, dict[str, Any]]:
    tables = to_mapping(from_mapping({"model": {"preset": config.model.preset}}))
    tables["model"]["preset"] = DEFAULT_PRESETS.get(config.data.source, GENERAL_PRESET)
    return tables
