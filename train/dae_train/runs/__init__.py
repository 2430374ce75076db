"""Training runs and their directories."""

from .run import Outcome, resume, train
from .run_files import read_config

__all__ = [
    "Outcome",
    "read_config",
    "resume",
    "train",
]
