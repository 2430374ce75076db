"""The configuration of a run: network, noise, data and training; frozen, validated, read and written as TOML.

A configuration file has the tables `[model]`, `[noise]`, `[data]` and `[training]`, whose keys are the fields of the classes
here; omitted keys have defaults. The `run.toml` of a run directory is such a file with records that are ignored when read, so
`dae-train --config RUN/run.toml` repeats a run.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dae_runtime.contract import NO_NOISE, NoiseSpec, gaussian_range
from dae_runtime.system.bounds import shown
from dae_runtime.system.paths import read_regular, reason_of

from ..errors import ConfigError, check_fields, check_setting
from .networks import Architecture, ResidualSettings, preset_class, preset_settings, takes_sigma
from .noise import FitRequest, NoiseSettings
from .trained_file import channels_of, model_table
from .training import BY_LEVEL, MSE, MUON, NOISE2NOISE, NOISE2VOID, PLAIN_MUON, TrainingSettings

RECORDS = ("command", "versions", "record")
"""Entries of run.toml that are not settings."""
_IGNORED = (*RECORDS, "card")  # old recipes contain `card`

DEFAULT_NOISE = {"mnist": "gaussian:0.5", "fashion_mnist": "gaussian:0.2"}
"""Noise for known data sets; `GENERAL_NOISE` for others."""
GENERAL_NOISE = "gaussian:0.02-0.2"
DEFAULT_PRESETS = dict.fromkeys(DEFAULT_NOISE, "v2")
"""Preset for known data sets; `GENERAL_PRESET` for others."""
GENERAL_PRESET = "edge-s"
SYNTHETIC = "synthetic"
"""The source that needs no download."""
CLEAN_SOURCES = (SYNTHETIC, *DEFAULT_NOISE)
"""Sources without noise."""

MOST_SYNTHETIC_PIXELS = 2**31
MOST_PIXELS_OF_BATCH = 2**28
"""More would exhaust the memory of any machine, with the activations of a network."""

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class DataSettings:
    """The images."""

    source: str = SYNTHETIC
    """`synthetic`, `mnist`, `fashion_mnist`, a folder of images, an .npz or an .npy file."""
    target: str | None = None
    """Folder of clean images with the same relative paths; `source` is then the folder of noisy images."""
    patch_px: int | None = None
    """Side of the square crops. None: whole images if all have one size up to 64 pixels, else 64."""
    limit: int | None = None
    """Use only the first images; for `synthetic` the number of images."""
    validation_fraction: float = 0.05
    """Fraction of the images held out for validation."""
    validation_groups: str | None = None
    """JSON file of groups of related images (see `groups`), which the validation split keeps together."""
    sha256: str | None = None
    """Digest of images and groups file; if given, others are rejected."""
    augment: bool | None = None
    """Rotate and flip patches at random: eight symmetries, four if not square. None: for crops, not for whole images."""

    def __post_init__(self) -> None:
        check_fields(self, "data")
        check_setting(self.patch_px is None or self.patch_px > 0, "data.patch_px", "at least 1", self.patch_px)
        check_setting(self.limit is None or self.limit >= 2, "data.limit", "at least 2", self.limit)
        pixels = (self.limit or 0) * (self.patch_px or 64) ** 2 if self.source == SYNTHETIC else 0
        expected = f"at most {MOST_SYNTHETIC_PIXELS // (self.patch_px or 64) ** 2} for synthetic images"
        check_setting(pixels <= MOST_SYNTHETIC_PIXELS, "data.limit", expected, self.limit)
        fraction = self.validation_fraction
        check_setting(0 < fraction < 1, "data.validation_fraction", "above 0 and below 1", fraction)


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run."""

    model: Architecture = field(default_factory=lambda: preset_settings(GENERAL_PRESET))
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    data: DataSettings = field(default_factory=DataSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        paired, kind = self.data.target is not None, self.training.supervision
        if kind == NOISE2NOISE and not paired:
            raise ConfigError(f"{kind} needs two folders of noisy shots of the same scenes. Give the second with --target.")
        if kind == NOISE2NOISE and self.noise.spec is not None and not self.noise.none:
            raise ConfigError(f"{kind} uses the noise in the images. Omit --noise {self.noise.spec}.")
        if kind == NOISE2VOID and paired:
            raise ConfigError(f"{kind} uses single noisy images. Omit --target, or choose another --supervision.")
        if kind == NOISE2VOID and self.noise_spec == NO_NOISE and self.data.source in CLEAN_SOURCES:
            raise ConfigError(f"{kind} needs noisy images, and those of {self.data.source} are clean. Give --noise.")
        if kind == "clean" and not paired and self.noise.none:
            raise ConfigError(
                f"noise {NO_NOISE!r} leaves nothing to remove. Give another --noise, or clean images with --target."
            )
        if self.training.loss == "bce" and isinstance(self.model, ResidualSettings) and not self.model.sigmoid:
            raise ConfigError(
                f"the loss bce needs an output in [0, 1], which {self.model.preset} can exceed. Use --preset digits or v2, "
                "model.sigmoid = true in a file, or another --loss."
            )
        self._check_batch()
        self._check_level()

    def _check_batch(self) -> None:
        size, side = self.training.batch_size or 1, self.data.patch_px or self.model.image_px or 1
        expected = f"at most {MOST_PIXELS_OF_BATCH // side**2} with images of {side} x {side} pixels"
        check_setting(size * side**2 <= MOST_PIXELS_OF_BATCH, "training.batch_size", expected, size)

    def _check_level(self) -> None:
        """Check what the noise level is needed for."""
        if not takes_sigma(self.model):
            check_setting(self.training.loss != BY_LEVEL, "model.sigma", f"true with the loss {BY_LEVEL}", False)
            return
        kind, levels = self.training.supervision, gaussian_range(self.noise_spec)
        check_setting(
            kind == "clean", "training.supervision", "'clean' with model.sigma: the level is that of known noise", kind
        )
        one = levels is not None and levels[0] == levels[1]
        check_setting(not one, "noise.spec", "a range of levels with model.sigma, as gaussian:0-0.2", self.noise_spec)

    @property
    def noise_spec(self) -> str:
        """The effective noise specification."""
        if self.noise.spec is not None:
            return str(self.noise.spec)
        noisy_already = self.data.target is not None or self.training.supervision == NOISE2VOID
        return NO_NOISE if noisy_already else DEFAULT_NOISE.get(self.data.source, GENERAL_NOISE)

    @property
    def loss(self) -> str:
        """The effective loss."""
        return self.training.loss or default_loss(takes_sigma(self.model))

    @property
    def optimizer(self) -> str:
        """The effective optimizer."""
        return self.training.optimizer or default_optimizer(self.model)

    @property
    def has_clean(self) -> bool:
        """Whether the target images are clean, for validation."""
        kind = self.training.supervision
        return kind == "clean" or (kind == NOISE2VOID and self.noise_spec != NO_NOISE)


def default_loss(leveled: bool) -> str:
    """Return the default loss: all levels count alike, for a network that is given the noise level."""
    return BY_LEVEL if leveled else MSE


def default_optimizer(model: Architecture) -> str:
    """Return the default optimizer: plain Muon kills units in the lower levels of U-shapes."""
    return MUON if isinstance(model, ResidualSettings) and len(model.filters) > 1 else PLAIN_MUON


def from_mapping(document: Mapping[str, Any], where: str = "the configuration") -> RunConfig:
    """Return a configuration from nested tables.

    Args:
        document: The tables `model`, `noise`, `data`, `training`, each optional; records are ignored.
        where: Origin of the tables, for messages.

    Raises:
        ConfigError: A table or key is unknown, a value has a wrong type or is invalid, or the network of `training.init`,
            which determines the model without a preset, cannot be read.
    """
    tables = settings_of(document)
    known = [f.name for f in dataclasses.fields(RunConfig)]
    if unknown := sorted(set(tables) - set(known)):
        raise ConfigError(f"{where}: unknown tables {', '.join(unknown)}. Known are: {', '.join(known)}.")
    training = _build(TrainingSettings, tables, "training", where)
    model = dict(check_table(tables.get("model", {}), "model", where))
    if "preset" not in model and training.init is not None:
        model = model_table(training.init) | {"channels": channels_of(training.init, "--init")} | model
    data = _build(DataSettings, tables, "data", where)
    preset = model.pop("preset", DEFAULT_PRESETS.get(data.source, GENERAL_PRESET))
    return RunConfig(
        model=preset_settings(preset, **_checked(preset_class(preset), model, "model", where)),
        noise=_build(NoiseSettings, tables, "noise", where),
        data=data,
        training=training,
    )


def settings_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a configuration file that are settings."""
    return {name: value for name, value in document.items() if name not in _IGNORED}


def from_toml(path: str | os.PathLike[str]) -> RunConfig:
    """Read a configuration file.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or has unknown or invalid settings.
    """
    return from_mapping(read_toml(path), os.fspath(path))


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file as nested tables.

    Raises:
        ConfigError: The file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(read_regular(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, not TOML, or a number of too many digits
        raise ConfigError(f"the configuration {os.fspath(path)} cannot be read: {reason_of(error)}.") from error


def to_mapping(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return the configuration as nested tables that `from_mapping` reads; fields that are None are omitted."""
    return {field.name: _table(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _table(settings: Any) -> dict[str, Any]:
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    return {key: _plain(value) for key, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, NoiseSpec | FitRequest) else value


def to_toml(config: RunConfig, records: Mapping[str, Any] | None = None) -> str:
    """Return the configuration as TOML text.

    Args:
        config: What to write.
        records: Further entries named in `RECORDS`.
    """
    import tomli_w  # of the `train` extra, not needed to read

    return tomli_w.dumps({**(records or {}), **to_mapping(config)})


def _build(kind: type[Settings], tables: Mapping[str, Any], name: str, where: str) -> Settings:
    return kind(**_checked(kind, check_table(tables.get(name, {}), name, where), name, where))


def check_table(value: object, name: str, where: str) -> Mapping[str, Any]:
    """Return a value that must be a table.

    Raises:
        ConfigError: It is not a table.
    """
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: [{name}] must be a table, not {value!r}.")
    return value


def _checked(kind: type[Any], values: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """Check names and types against a dataclass; convert lists to tuples and integers to floats as needed."""
    types = {f.name: str(f.type) for f in dataclasses.fields(kind) if f.name != "preset"}
    if unknown := sorted(set(values) - set(types)):
        raise ConfigError(f"{where}: [{name}] has unknown keys {', '.join(unknown)}. Known are: {', '.join(types)}.")
    return {key: _convert(value, types[key], f"{where}: {name}.{key}") for key, value in values.items()}


def _convert(value: Any, annotation: str, name: str) -> Any:
    wanted, *others = annotation.split(" | ")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if wanted == "float" and is_number and abs(value) <= sys.float_info.max:  # nan and infinity do not compare
        return float(value)
    if wanted == "tuple[int, ...]" and isinstance(value, list) and all(type(item) is int for item in value):
        return tuple(value)
    if type(value).__name__ in (wanted, *others):
        return value
    words = {"int": "a whole number", "float": "a finite number", "str": "text", "bool": "true or false"}
    raise ConfigError(f"{name} must be {words.get(wanted, 'a list of whole numbers')}, not {shown(value)}.")
