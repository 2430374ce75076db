"""The errors that this toolkit raises on purpose.

Every text says what went wrong, what was expected, what was received, and what to do about it.

    DaeError
    ├── MissingDependencyError   an optional package is not installed
    ├── DeviceError              the requested device cannot be had
    ├── ModelError               the file is not a model that this version can use
    ├── InputError               an array or an argument is not usable (also a ValueError)
    ├── CancelledError           the caller's own callback asked to stop
    └── ImageError               an image file cannot be read or written
        └── OutputExistsError    the output is there already and may not be overwritten
"""

from __future__ import annotations


class DaeError(Exception):
    """Base class of every error that this toolkit raises on purpose."""


class MissingDependencyError(DaeError):
    """An optional package is not installed; the text holds the install command."""


class DeviceError(DaeError):
    """The requested device cannot be had; the text says why."""


class ModelError(DaeError):
    """The file is not a model that this version can use."""


class InputError(DaeError, ValueError):
    """An array or an argument is not usable."""


class CancelledError(DaeError):
    """The caller's own callback asked to stop."""


class ImageError(DaeError):
    """An image file cannot be read or written."""


class OutputExistsError(ImageError):
    """The output is there already and may not be overwritten."""
