"""How the flags of `dae-train` and the settings of a run belong together."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .config import (
    DEFAULT_PRESETS,
    GENERAL_PRESET,
    SYNTHETIC,
    RunConfig,
    check_table,
    default_optimizer,
    from_mapping,
    read_toml,
    settings_of,
    to_mapping,
)
from .networks import PRESETS
from .training import CONSTANT, LEARNING_RATES, TrainingSettings, default_rate


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
    "sigma_input": Flag("--sigma-input", "model", "sigma", "--no-sigma-input"),
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

_IMAGES = {"data", "target", "limit", "val_groups"}  # flags that decide which images are meant
_SYNTHETIC_IMAGES = {"seed", "channels", "patch_size"}  # and those that do for images made out of nothing


def merge(config_file: str | None, given: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a file, or the defaults, changed by the flags that were given.

    Another preset than that of the file is taken as it is: of the file's network only the number of channels is kept. What
    the file holds as a consequence of a setting that is changed, such as the digest of other images, is dropped.

    Args:
        config_file: TOML file or None.
        given: Values by the names of `FLAGS`; those that are None were not given.

    Raises:
        ConfigError: Something is unknown or impossible.
    """
    where = config_file or "the command line"
    document = {} if config_file is None else settings_of(read_toml(config_file))
    for table, content in document.items():
        check_table(content, table, where)
    given = _given(given)
    if "epochs" in given and "steps" in given:
        raise ConfigError("--epochs and --steps both say how long to train. Give one of them.")
    _drop_outdated(document, given)
    for name, value in given.items():
        document.setdefault(FLAGS[name].table, {})[FLAGS[name].key] = value
    return from_mapping(document, where)


def _drop_outdated(document: Mapping[str, dict[str, Any]], given: Mapping[str, Any]) -> None:
    """Remove from the tables of a file what does not hold any more with the flags that are given."""
    model, data, training = (document.get(table, {}) for table in ("model", "data", "training"))
    said = {name: document.get(FLAGS[name].table, {}).get(FLAGS[name].key) for name in given}
    changed = {name for name, value in given.items() if said[name] != value}
    synthetic = given.get("data", data.get("source", SYNTHETIC)) == SYNTHETIC
    if changed & _IMAGES or (synthetic and changed & _SYNTHETIC_IMAGES):
        data.pop("sha256", None)
    for name in changed & {"init", "teacher"}:
        training.pop(f"{name}_sha256", None)
    preset = model.get("preset", DEFAULT_PRESETS.get(str(data.get("source")), GENERAL_PRESET))
    if given.get("preset", preset) != preset:
        for key in set(model) - {"channels"}:
            del model[key]
        if preset in PRESETS and training.get("optimizer") == default_optimizer(PRESETS[preset]):
            del training["optimizer"]
    optimizer = training.get("optimizer")
    usual = default_rate(optimizer, training.get("init")) if optimizer is None or optimizer in LEARNING_RATES else None
    if changed & {"optimizer", "init"} and training.get("learning_rate") == usual:
        training.pop("learning_rate", None)
    if given.get("schedule") == CONSTANT:
        training.pop("warmup_steps", None)
    if "epochs" in given:
        training.pop("steps", None)


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


def command_line(config: RunConfig, given: Mapping[str, Any], config_file: str | None = None) -> str:
    """Return a `dae-train` command that repeats a run.

    Where flags can say every setting, they do. Where they cannot, because a file describes a network that no preset is, the
    command is the one that was given: that file and its flags.

    Args:
        config: What `merge` made of the other two.
        given: Values by the names of `FLAGS`; those that are None were not given.
        config_file: TOML file or None.
    """
    differing = _differing(config)
    if _repeats(differing, config):
        return shlex.join(["dae-train", config.data.source, *_words(differing)])
    file = [] if config_file is None else ["--config", config_file]
    return shlex.join(["dae-train", config.data.source, *file, *_words(_given(given))])


def with_epochs(line: str, epochs: int) -> str:
    """Return a `dae-train` command with another number of epochs, in place of those or the steps that it says."""
    words = shlex.split(line)
    for flag in (FLAGS["epochs"].name, FLAGS["steps"].name):
        if flag in words:
            place = words.index(flag)
            del words[place : place + 2]
    return shlex.join([*words, FLAGS["epochs"].name, str(epochs)])


def _differing(config: RunConfig) -> dict[str, Any]:
    """Return the settings that have flags and are not the defaults, by the names of the flags."""
    defaults, wanted = _defaults(config), to_mapping(config)
    found = {name: wanted[flag.table].get(flag.key) for name, flag in FLAGS.items()}
    found["noise"] = config.noise.spec  # as it has been read
    if config.training.steps is not None:
        del found["epochs"]
    return {
        name: value
        for name, value in found.items()
        if name == "data" or (value is not None and value != defaults[FLAGS[name].table].get(FLAGS[name].key))
    }


def _repeats(given: Mapping[str, Any], config: RunConfig) -> bool:
    """Return whether flags alone make a configuration."""
    try:
        return _bare(merge(None, given)) == _bare(config)
    except ConfigError:  # without the rest of the network they are impossible
        return False


def _bare(config: RunConfig) -> RunConfig:
    """Return a configuration without digests, which check and decide nothing, and without epochs that steps decide."""
    training = replace(config.training, init_sha256=None, teacher_sha256=None)
    if training.steps is not None:
        training = replace(training, epochs=TrainingSettings.epochs)
    return replace(config, data=replace(config.data, sha256=None), training=training)


def _words(given: Mapping[str, Any]) -> list[str]:
    words = []
    for name, flag in FLAGS.items():
        if name not in given or not flag.name:
            continue
        value = given[name]
        words += [flag.name if value else flag.negative] if flag.negative else [flag.name, str(value)]
    return words


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
