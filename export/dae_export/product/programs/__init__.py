"""Files for other programs, made of a model file."""

from .conversion import ProgramFile, convert_for
from .targets import check_target, find_target, sidecar_of

__all__ = ["ProgramFile", "check_target", "convert_for", "find_target", "sidecar_of"]
