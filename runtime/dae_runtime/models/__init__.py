"""Bundled models, found by name."""

from .bundled import (
    DEFAULT_MODEL,
    DEFAULT_MODELS,
    STRONG,
    BundledModel,
    bundled_models,
    describe_models,
    find_model,
    find_models,
)

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_MODELS",
    "STRONG",
    "BundledModel",
    "bundled_models",
    "describe_models",
    "find_model",
    "find_models",
]
