"""Network and noise that a calling program provides in place of settings."""

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
    """Parts of a run that the program provides; None where settings describe them."""

    model: keras.Model | None = None
    noise: CustomNoise | None = None

    def begin(self, config: RunConfig) -> RunConfig:
        """Return the settings of a new run that refer to the provided parts.

        Raises:
            ConfigError: The model cannot be trained, settings name a noise too, or a part is missing.
        """
        if self.noise is not None and config.noise.spec is not None and not config.noise.custom:
            raise ConfigError(f"noise was given as a function and as the text {str(config.noise.spec)!r}. Omit one.")
        if self.model is not None:
            config = replace(config, model=self._settings())
        if self.noise is not None:
            config = replace(config, noise=replace(config.noise, spec=CUSTOM_NOISE))
        self.check(config)
        return config

    def resume(self, config: RunConfig, run: str) -> None:
        """Check that the provided parts match the settings of a run.

        Raises:
            ConfigError: They do not.
        """
        self.check(config, run)
        recorded = isinstance(config.model, CustomSettings)
        for name, given, own in (("model", self.model, recorded), ("noise", self.noise, config.noise.custom)):
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

    def _settings(self) -> CustomSettings:
        from ..networks import custom_settings  # needs the framework, already loaded with the model

        return custom_settings(self.model)


def _missing(run: str, name: str, what: str, kind: str) -> str:
    return (
        f"{run} has {name} {CUSTOM_NOISE!r}: {what} that only the program which defines it can provide. "
        f"Pass the {kind} as {name}=... to dae_train.train or dae_train.resume."
    )
