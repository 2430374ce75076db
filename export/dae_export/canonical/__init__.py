"""The canonical form of a graph, on which all later passes rely."""

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
