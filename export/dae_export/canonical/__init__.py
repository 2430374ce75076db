"""The canonical form of a graph: one way to write each thing, for all that comes after."""

from typing import TYPE_CHECKING

from dae_runtime.system.lazy import lazy_face

if TYPE_CHECKING:
    from .passes import canonicalize
    from .residual import give_exact_image, residual_sum

__all__ = [
    "canonicalize",
    "give_exact_image",
    "residual_sum",
]

__getattr__ = lazy_face(
    __name__,
    {
        "passes": ("canonicalize",),
        "residual": (
            "give_exact_image",
            "residual_sum",
        ),
    },
)
