"""Train small convolutional denoisers with Keras.

    from pathlib import Path
    from dae_train import RunConfig, train

    outcome = train(RunConfig(), Path("runs/first"))

Importing this package loads no framework; the first call that trains does.
"""

from .errors import ConfigError, DataError, RunError, TrainError
from .runs import Outcome, resume, train
from .settings.config import DataSettings, NoiseSettings, RunConfig, from_toml, to_toml
from .settings.networks import PRESETS, NetworkSettings, preset_settings
from .settings.residual import ResidualSettings
from .settings.training import TrainingSettings

__all__ = [
    "PRESETS",
    "ConfigError",
    "DataError",
    "DataSettings",
    "NetworkSettings",
    "NoiseSettings",
    "Outcome",
    "ResidualSettings",
    "RunConfig",
    "RunError",
    "TrainError",
    "TrainingSettings",
    "from_toml",
    "preset_settings",
    "resume",
    "to_toml",
    "train",
]
