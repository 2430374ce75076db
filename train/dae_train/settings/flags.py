"""The flags of `dae-train` and the settings that they change."""

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
    default_loss,
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
    """Name on the command line; empty for the DATA argument."""
    table: str
    key: str
    negative: str = ""
    """Flag that disables it, for booleans."""


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

_IMAGES = {"data", "target", "limit", "val_groups"}  # flags that select images
_SYNTHETIC_IMAGES = {"seed", "channels", "patch_size"}  # and those that determine synthetic ones


def merge(config_file: str | None, given: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a file, or the defaults, overridden by flags.

    A new preset replaces the network of the file except its number of channels. Values of the file that depend on a changed
    setting, such as the digest of the images, are dropped.

    Args:
        config_file: TOML file or None.
        given: Values by the names of `FLAGS`; None for flags not given.

    Raises:
        ConfigError: A setting is unknown or invalid.
    """
    where = config_file or "the command line"
    document = {} if config_file is None else settings_of(read_toml(config_file))
    for table, content in document.items():
        check_table(content, table, where)
    given = _given(given)
    if "epochs" in given and "steps" in given:
        raise ConfigError("--epochs and --steps both set the length of the run. Give one of them.")
    _drop_outdated(document, given)
    for name, value in given.items():
        document.setdefault(FLAGS[name].table, {})[FLAGS[name].key] = value
    return from_mapping(document, where)


def _drop_outdated(document: Mapping[str, dict[str, Any]], given: Mapping[str, Any]) -> None:
    """Remove values of a file that the given flags invalidate."""
    model, data, training = (document.get(table, {}) for table in ("model", "data", "training"))
    recorded = {name: document.get(FLAGS[name].table, {}).get(FLAGS[name].key) for name in given}
    changed = {name for name, value in given.items() if recorded[name] != value}
    synthetic = given.get("data", data.get("source", SYNTHETIC)) == SYNTHETIC
    if changed & _IMAGES or (synthetic and changed & _SYNTHETIC_IMAGES):
        data.pop("sha256", None)
    for name in changed & {"init", "teacher"}:
        training.pop(f"{name}_sha256", None)
    preset = model.get("preset", DEFAULT_PRESETS.get(str(data.get("source")), GENERAL_PRESET))
    other_preset = given.get("preset", preset) != preset
    if (other_preset or "sigma_input" in changed) and training.get("loss") == default_loss(bool(model.get("sigma"))):
        del training["loss"]
    if other_preset:
        for key in set(model) - {"channels"}:
            del model[key]
        if preset in PRESETS and training.get("optimizer") == default_optimizer(PRESETS[preset]):
            del training["optimizer"]
    optimizer = training.get("optimizer")
    expected_rate = default_rate(optimizer, training.get("init")) if optimizer is None or optimizer in LEARNING_RATES else None
    if changed & {"optimizer", "init"} and training.get("learning_rate") == expected_rate:
        training.pop("learning_rate", None)
    if given.get("schedule") == CONSTANT:
        training.pop("warmup_steps", None)
    if "epochs" in given:
        training.pop("steps", None)


def with_flags(text: str) -> str:
    """Return the text of an error with the flag before each setting that has one: `--ema (training.ema) must be ...`."""
    names = {f"{flag.table}.{flag.key}": flag.name or "DATA" for flag in FLAGS.values()}
    return re.sub(r"\b(?:model|noise|data|training)\.\w+", lambda found: _named(names.get(found[0]), found[0]), text)


def _named(flag: str | None, setting: str) -> str:
    return setting if flag is None else f"{flag} ({setting})"


def check_same(config: RunConfig, given: Mapping[str, Any]) -> None:
    """Check that the flags of a resumed run match its settings, except `epochs`.

    Raises:
        ConfigError: Some differ; the text lists both values.
    """
    tables = to_mapping(config)
    differing = [
        f"{FLAGS[name].name or 'DATA'} {value} (the run has {tables[FLAGS[name].table].get(FLAGS[name].key)})"
        for name, value in _given(given).items()
        if name != "epochs" and tables[FLAGS[name].table].get(FLAGS[name].key) != value
    ]
    if differing:
        raise ConfigError(
            f"a resumed run keeps its settings; these differ: {', '.join(differing)}. Omit them, or start a new run."
        )


def command_line(config: RunConfig, given: Mapping[str, Any], config_file: str | None = None) -> str:
    """Return a `dae-train` command that repeats a run.

    It consists of flags if they can express every setting, else of the configuration file and the given flags.

    Args:
        config: Result of `merge` for the other two.
        given: Values by the names of `FLAGS`; None for flags not given.
        config_file: TOML file or None.
    """
    differing = _differing(config)
    if _repeats(differing, config):
        return shlex.join(["dae-train", config.data.source, *_arguments(differing)])
    file = [] if config_file is None else ["--config", config_file]
    return shlex.join(["dae-train", config.data.source, *file, *_arguments(_given(given))])


def with_epochs(line: str, epochs: int) -> str:
    """Return a `dae-train` command with `--epochs` in place of its epochs or steps."""
    arguments = shlex.split(line)
    for flag in (FLAGS["epochs"].name, FLAGS["steps"].name):
        if flag in arguments:
            place = arguments.index(flag)
            del arguments[place : place + 2]
    return shlex.join([*arguments, FLAGS["epochs"].name, str(epochs)])


def _differing(config: RunConfig) -> dict[str, Any]:
    """Return the settings with flags that differ from the defaults, by flag name."""
    defaults, wanted = _defaults(config), to_mapping(config)
    found = {name: wanted[flag.table].get(flag.key) for name, flag in FLAGS.items()}
    found["noise"] = config.noise.spec  # the parsed value
    if config.training.steps is not None:
        del found["epochs"]
    return {
        name: value
        for name, value in found.items()
        if name == "data" or (value is not None and value != defaults[FLAGS[name].table].get(FLAGS[name].key))
    }


def _repeats(given: Mapping[str, Any], config: RunConfig) -> bool:
    """Return whether flags alone express a configuration."""
    try:
        return _comparable(merge(None, given)) == _comparable(config)
    except ConfigError:  # invalid without the rest of the network
        return False


def _comparable(config: RunConfig) -> RunConfig:
    """Return a configuration without digests, and without epochs that follow from steps."""
    training = replace(config.training, init_sha256=None, teacher_sha256=None)
    if training.steps is not None:
        training = replace(training, epochs=TrainingSettings.epochs)
    return replace(config, data=replace(config.data, sha256=None), training=training)


def _arguments(given: Mapping[str, Any]) -> list[str]:
    arguments = []
    for name, flag in FLAGS.items():
        if name not in given or not flag.name:
            continue
        value = given[name]
        arguments += [flag.name if value else flag.negative] if flag.negative else [flag.name, str(value)]
    return arguments


def default_output(config: RunConfig) -> Path:
    """Return the default run directory, `runs/DATA-PRESET`."""
    name = Path(config.data.source.rstrip("/")).stem if Path(config.data.source).name else "data"
    safe = re.sub(r"[^\w.-]+", "_", name).strip(".") or "data"
    return Path("runs") / f"{safe}-{config.model.preset}"


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _defaults(config: RunConfig) -> dict[str, dict[str, Any]]:
    tables = to_mapping(from_mapping({"model": {"preset": config.model.preset}}))
    tables["model"]["preset"] = DEFAULT_PRESETS.get(config.data.source, GENERAL_PRESET)
    return tables
