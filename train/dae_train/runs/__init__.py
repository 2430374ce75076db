"""Training runs and their directories."""

from .continuation import continue_from
from .run import Outcome, connect, resume, train
from .run_files import claim, read_config, rewrite_description, write_description

__all__ = [
    "Outcome",
    "claim",
    "connect",
    "continue_from",
    "read_config",
    "resume",
    "rewrite_description",
    "train",
    "write_description",
]
