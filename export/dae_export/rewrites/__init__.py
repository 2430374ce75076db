"""Rewrites of a canonical graph into equivalent, faster forms."""

from typing import TYPE_CHECKING

from dae_runtime.system.lazy import lazy_face

if TYPE_CHECKING:
    from .recipe import CANONICAL, FLOAT_CANDIDATES, INTEGER_CANDIDATES, Recipe, apply

__all__ = [
    "CANONICAL",
    "FLOAT_CANDIDATES",
    "INTEGER_CANDIDATES",
    "Recipe",
    "apply",
]

__getattr__ = lazy_face(
    __name__,
    {
        "recipe": ("CANONICAL", "FLOAT_CANDIDATES", "INTEGER_CANDIDATES", "Recipe", "apply"),
    },
)
