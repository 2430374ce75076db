"""Network, noise and loss that a calling program provides in place of settings, and its callbacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError
from ..settings.config import RunConfig
from ..settings.networks import CustomSettings
from ..settings.noise import CUSTOM_NOISE, CustomNoise
from ..settings.training import CUSTOM_LOSS

if TYPE_CHECKING:
    import keras


Loss = Callable[[Any, Any], Any]
"""Takes a clean and a denoised batch, (N, H, W, C) tensors; returns the loss of each pixel, (N, H, W), or its mean."""


@dataclass(frozen=True)
class Custom:
    """Parts of a run that the program provides; None where settings describe them."""

    model: keras.Model | None = None
    noise: CustomNoise | None = None
    loss: Loss | None = None
    callbacks: tuple[keras.callbacks.Callback, ...] = ()
    """They see the figures of each epoch and change nothing that the run records."""

    def __post_init__(self) -> None:
        for name, given in (("noise", self.noise), ("loss", self.loss)):
            if given is not None and not callable(given):
                raise ConfigError(f"{name} must be a function, not {type(given).__name__}. See docs/python-api.md.")
        for callback in self.callbacks:
            if not hasattr(callback, "on_epoch_end"):
                raise ConfigError(f"callbacks must be keras.callbacks.Callback objects, not {type(callback).__name__}.")

    @property
    def names(self) -> dict[str, Any]:
        """The names of the provided parts, for the record of the run."""
        found: dict[str, Any] = {} if self.model is None else {"model": str(self.model.name)}
        found |= {kind: _name(given) for kind, given in (("noise", self.noise), ("loss", self.loss)) if given is not None}
        return found | ({"callbacks": [type(callback).__name__ for callback in self.callbacks]} if self.callbacks else {})

    def begin(self, config: RunConfig) -> RunConfig:
        """Return the settings of a new run that refer to the provided parts.

        Raises:
            ConfigError: The model cannot be trained, settings name a noise or loss too, or a part is missing.
        """
        if self.loss is not None and config.training.loss not in (None, CUSTOM_LOSS):
            raise ConfigError(f"loss was given as a function and as the text {config.training.loss!r}. Omit one.")
        if self.noise is not None and config.noise.spec is not None and not config.noise.custom:
            raise ConfigError(f"noise was given as a function and as the text {str(config.noise.spec)!r}. Omit one.")
        if self.model is not None:
            config = replace(config, model=self._settings())
        if self.noise is not None:
            config = replace(config, noise=replace(config.noise, spec=CUSTOM_NOISE))
        if self.loss is not None:
            config = replace(config, training=replace(config.training, loss=CUSTOM_LOSS))
        self.check(config)
        return config

    def resume(self, config: RunConfig, run: str) -> None:
        """Check that the provided parts match the settings of a run.

        Raises:
            ConfigError: They do not.
        """
        self.check(config, run)
        parts = (
            ("model", self.model, isinstance(config.model, CustomSettings)),
            ("noise", self.noise, config.noise.custom),
            ("loss", self.loss, config.training.loss == CUSTOM_LOSS),
        )
        for name, given, own in parts:
            if given is not None and not own:
                raise ConfigError(f"{run} started with a {name} from its settings, not from a program. Omit {name}.")
        if self.model is not None and (received := self._settings()) != config.model:
            raise ConfigError(f"{run} started with another model: expected {config.model}, received {received}.")

    def check(self, config: RunConfig, run: str = "the configuration") -> None:
        """Check that every part that the settings leave to a program is provided.

        Raises:
            ConfigError: A part is missing; the text says how to provide it.
        """
        if isinstance(config.model, CustomSettings) and self.model is None:
            raise ConfigError(_missing(run, "model", "a network", "keras.Model"))
        if config.noise.custom and self.noise is None:
            raise ConfigError(_missing(run, "noise", "noise", "function"))
        if config.training.loss == CUSTOM_LOSS and self.loss is None:
            raise ConfigError(_missing(run, "loss", "a loss", "function"))

    def _settings(self) -> CustomSettings:
        from ..networks import custom_settings  # needs the framework, already loaded with the model

        return custom_settings(self.model)


def check_loss(loss: Loss, channels: int) -> None:
    """Check a loss function of the calling program on two small batches.

    Raises:
        ConfigError: Its mean is not a finite number. Errors of the function itself propagate.
    """
    from keras import ops

    clean, denoised = (np.random.default_rng(seed).random((2, 16, 16, channels), np.float32) for seed in range(2))
    value = loss(ops.convert_to_tensor(clean), ops.convert_to_tensor(denoised))
    try:
        mean = float(ops.mean(ops.convert_to_tensor(value)))
    except (TypeError, ValueError):
        mean = math.nan
    if not math.isfinite(mean):
        raise ConfigError(
            "the custom loss must return numbers, (N, H, W) or their mean, for a clean and a denoised batch (N, H, W, C); "
            f"received {value!r}."
        )


def _name(function: Any) -> str:
    """Return the name of a function, or of the class of a callable object."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _missing(run: str, name: str, what: str, kind: str) -> str:
    return (
        f"{run} has {name} {CUSTOM_NOISE!r}: {what} that only the program which defines it can provide. "
        f"Pass the {kind} as {name}=... to dae_train.train or dae_train.resume."
    )
