"""The trained model: loaded, and converted to a canonical graph."""

from typing import TYPE_CHECKING

from dae_runtime.system.lazy import lazy_face

if TYPE_CHECKING:
    from .convert import convert_plainly
    from .keras_file import KerasModel, Source, find_source, import_keras, load
    from .network import Network, read_network

__all__ = [
    "KerasModel",
    "Network",
    "Source",
    "convert_plainly",
    "find_source",
    "import_keras",
    "load",
    "read_network",
]

__getattr__ = lazy_face(
    __name__,
    {
        "convert": ("convert_plainly",),
        "keras_file": ("KerasModel", "Source", "find_source", "import_keras", "load"),
        "network": ("Network", "read_network"),
    },
)
