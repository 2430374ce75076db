"""Models that come with the package, found by name."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import ModelError

MODEL_FOLDER = Path(__file__).parent / "models"
MODEL_SUFFIX = ".onnx"
DEFAULT_MODEL = "default"
"""Name of the bundled model that `dae-run` takes when it is given none."""


def bundled_models(folder: Path = MODEL_FOLDER) -> dict[str, Path]:
    """Return the bundled models' paths by name, sorted by name."""
    return {path.stem: path for path in sorted(folder.glob(f"*{MODEL_SUFFIX}"))}


def find_model(model: str | os.PathLike[str], folder: Path = MODEL_FOLDER) -> Path:
    """Return the path of a model given by the name of a bundled one, or by its path.

    A bare word that is a bundled name means the bundled model; write `./word` for a file of that name.

    Raises:
        ModelError: It is neither a bundled name nor a file; the text lists the bundled names.
    """
    bundled = bundled_models(folder)
    if isinstance(model, str) and model in bundled:
        return bundled[model]
    path = Path(model)
    if path.is_file():
        return path
    what = "is a folder" if path.is_dir() else "is neither a file nor the name of a bundled model"
    names = ", ".join(bundled) or "none in this installation"
    raise ModelError(f"{os.fspath(model)!r} {what}. Give the path of an .onnx file; bundled models: {names}.")
