"""The errors of this toolkit.

Every message states the problem, the expected and the received value, and the remedy.

    DaeError
    ├── MissingDependencyError   an optional package is not installed
    ├── DeviceError              the requested device is not available
    ├── ModelError               the file is not a model that this version can use
    ├── InputError               an array or an argument is not usable (also a ValueError)
    ├── CancelledError           the caller's own callback asked to stop
    └── ImageError               an image file cannot be read or written
        └── OutputExistsError    the output exists and may not be overwritten
"""

from __future__ import annotations


class DaeError(Exception):
    """Base class of all errors of this toolkit."""


class MissingDependencyError(DaeError):
    """An optional package is not installed; the message holds the install command."""


class DeviceError(DaeError):
    """The requested device is not available; the message gives the reason."""


class ModelError(DaeError):
    """The file is not a model that this version can use."""


class InputError(DaeError, ValueError):
    """An array or an argument is not usable."""


class CancelledError(DaeError):
    """The caller's own callback asked to stop."""


class ImageError(DaeError):
    """An image file cannot be read or written."""


class OutputExistsError(ImageError):
    """The output exists and may not be overwritten."""
