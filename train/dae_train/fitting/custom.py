"""What a program that trains brings itself, in the place of settings: its own network, its own noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..settings.config import RunConfig
from ..settings.networks import CustomSettings
from ..settings.noise import CUSTOM_NOISE, CustomNoise

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Custom:
    """The parts of a run that no settings describe; None where they do."""

    model: keras.Model | None = None
    noise: CustomNoise | None = None

    def begin(self, config: RunConfig) -> RunConfig:
        """Return the settings of a new run, which name what is brought.

        Raises:
            ConfigError: The model cannot be trained, there is noise besides, or settings ask for what is not brought.
        """
        if self.noise is not None and config.noise.spec is not None and not config.noise.custom:
            raise ConfigError(f"noise was given as a function and as the text {str(config.noise.spec)!r}. Leave one out.")
        if self.model is not None:
            config = replace(config, model=self._settings())
        if self.noise is not None:
            config = replace(config, noise=replace(config.noise, spec=CUSTOM_NOISE))
        self.check(config)
        return config

    def resume(self, config: RunConfig, run: str) -> None:
        """Check that what is brought is what a run was begun with, as far as its settings tell.

        Raises:
            ConfigError: It is not.
        """
        self.check(config, run)
        recorded = isinstance(config.model, CustomSettings)
        for name, given, own in (("model", self.model, recorded), ("noise", self.noise, config.noise.custom)):
            if given is not None and not own:
                raise ConfigError(f"{run} was begun with a {name} of its settings, not one of a program. Leave {name} out.")
        if self.model is not None and (received := self._settings()) != config.model:
            raise ConfigError(f"{run} was begun with another model: expected {config.model}, received {received}.")

    def check(self, config: RunConfig, run: str = "the configuration") -> None:
        """Check that everything is brought that settings leave to a program.

        Raises:
            ConfigError: Something is missing; the text says how to bring it.
        """
        if isinstance(config.model, CustomSettings) and self.model is None:
            raise ConfigError(_missing(run, "model", "a network", "keras.Model"))
        if config.noise.custom and self.noise is None:
            raise ConfigError(_missing(run, "noise", "noise", "function"))

    def _settings(self) -> CustomSettings:
        from ..networks import custom_settings  # needs the framework, which the program that has a model has loaded

        return custom_settings(self.model)


def _missing(run: str, name: str, what: str, kind: str) -> str:
    return (
        f"{run} says {name} {CUSTOM_NOISE!r}: it is of {what} that only the program which made it can give. "
        f"In that program pass the {kind} again, as {name}=... of dae_train.train or dae_train.resume."
    )
