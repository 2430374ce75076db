"""Train small convolutional denoisers with Keras.

    from dae_train import RunConfig, train

    outcome = train(RunConfig(), "runs/first")

Importing this package loads no framework; the first call that trains does. See docs/python-api.md.
"""

from .errors import ConfigError, DataError, RunError, TrainError
from .runs import Outcome, connect, resume, train
from .settings.config import DataSettings, RunConfig, from_mapping, from_toml, to_toml
from .settings.networks import PRESETS, NetworkSettings, ResidualSettings, preset_settings
from .settings.noise import NoiseSettings
from .settings.processes import Processes
from .settings.training import TrainingSettings

__all__ = [
    "PRESETS",
    "ConfigError",
    "DataError",
    "DataSettings",
    "NetworkSettings",
    "NoiseSettings",
    "Outcome",
    "Processes",
    "ResidualSettings",
    "RunConfig",
    "RunError",
    "TrainError",
    "TrainingSettings",
    "connect",
    "from_mapping",
    "from_toml",
    "preset_settings",
    "resume",
    "to_toml",
    "train",
]
