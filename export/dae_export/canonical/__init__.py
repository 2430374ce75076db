"""The canonical form of a graph: one way to write each thing, for all that comes after."""

from typing import TYPE_CHECKING

from dae_runtime.system.lazy import lazy_face

if TYPE_CHECKING:
    from .passes import canonicalize

__all__ = [
    "canonicalize",
]

__getattr__ = lazy_face(
    __name__,
    {
        "passes": ("canonicalize",),
    },
)
