"""What the options of `dae-run` come to: the model, opened, and limits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..models import DEFAULT_MODEL, DEFAULT_MODELS, bundled_models, find_models

if TYPE_CHECKING:
    from ..inference import Denoiser


def model_paths(model: str | None) -> list[Path]:
    """Return the file of the model that was asked for; where none was, the default's, which may be two."""
    if model is None and not set(DEFAULT_MODELS.values()) & set(bundled_models()):
        raise click.UsageError("no model: give one with -m MODEL, an .onnx file from dae-export.")
    return list(dict.fromkeys(find_models(model or DEFAULT_MODEL).values()))


def open_denoiser(model: str | None, options: dict[str, Any], files: int = 1) -> Denoiser:
    """Open the model that the options ask for, for so many files."""
    model_paths(model)  # a wrong name is told before the engine is loaded
    from ..inference import Denoiser
    from ..jobs.run import threads_for

    memory_mb = options["max_memory_mb"]
    # A limit on memory leaves no room for several images at once.
    threads = options["threads"] or (threads_for(files) if memory_mb is None else None)
    return Denoiser(model or DEFAULT_MODEL, options["device"], threads, options["tile_size"], memory_mb)


def max_pixels(options: dict[str, Any]) -> int:
    """Return how many pixels an image may have."""
    from ..images import MAX_PIXELS

    return MAX_PIXELS if options["max_megapixels"] is None else int(options["max_megapixels"] * 1e6)
