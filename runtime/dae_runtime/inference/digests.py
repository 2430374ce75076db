"""The SHA-256 by which a manifest knows a model, or the default models, and the name that people know it by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ..errors import ModelError
from ..models import DEFAULT_MODEL, bundled_models, find_models

_SHOWN = 12
"""Characters of a digest in a message."""


def models_digest(models: Iterable[bytes | Path]) -> str:
    """Return the SHA-256, in hex, of model files or their content, one after the other.

    Raises:
        ModelError: A file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for model in models:
            digest.update(model if isinstance(model, bytes) else model.read_bytes())
    except OSError as error:
        raise ModelError(f"the model {error.filename} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()


def name_of_digest(sha256: str, models: Iterable[bytes | Path] = ()) -> str:
    """Return what people call the model of a digest: `the default models`, a bundled name, or the name of a file.

    Args:
        sha256: From `models_digest`.
        models: Files that it may be of, besides the bundled ones.

    Returns:
        The name; the start of the digest if none is known.
    """
    try:
        if sha256 == models_digest(dict.fromkeys(find_models(DEFAULT_MODEL).values())):
            return "the default models"
        bundled = bundled_models()
        for name, path in (*bundled.items(), *((path.name, path) for path in models if isinstance(path, Path))):
            if sha256 == models_digest([path]):
                return name
    except ModelError:  # this installation has no default models, or a file is gone
        pass
    return f"one with the SHA-256 {sha256[:_SHOWN]}..."
