"""Bundled models, found by name."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ..contract import Contract
from ..errors import InputError, ModelError
from .hub import PREFIX, hub_model

MODEL_FOLDER = Path(__file__).parent
MODEL_SUFFIX = ".onnx"
DEFAULT_MODEL = "default"
"""The default: the bundled model for the channels of an image."""
STRONG = -1
"""Times the color channels: the model for images with more noise than the other is made for."""
DEFAULT_MODELS = {1: "gray", 3: "photo", 3 * STRONG: "color"}
"""Names of the default models by color channels."""


@dataclass(frozen=True)
class BundledModel:
    """A bundled model."""

    name: str
    """Name for `Denoiser` and `dae-run -m`."""
    size_bytes: int
    """Of the file."""
    contract: Contract

    def __str__(self) -> str:
        """Return a line of text: name, size, channels, precision, training noise, and quality."""
        model = self.contract
        color = "gray" if model.channels == 1 else "RGB"
        quality = model.quality
        learned = "pairs of images" if model.noise == "none" else f"noise {model.noise}"
        learned += "" if model.sigma is None else ", given the level"
        figures = "" if quality is None else f", PSNR {quality.noisy_psnr_db:.2f} -> {quality.psnr_db:.2f} dB on such images"
        return f"{self.name}  {self.size_bytes / 1024:.0f} KiB, {color}, {model.precision}, {learned}{figures}"


def bundled_models(folder: Path | None = None) -> dict[str, Path]:
    """Return the bundled models' paths by name, sorted by name.

    Args:
        folder: Folder of the models; None for the package's own.
    """
    return dict(sorted((path.stem, path) for path in (folder or MODEL_FOLDER).glob(f"*{MODEL_SUFFIX}")))


def describe_models(folder: Path | None = None) -> list[BundledModel]:
    """Open each bundled model and return its description, sorted by name.

    Raises:
        ModelError: One of them is damaged.
        MissingDependencyError: onnxruntime is not installed.
    """
    from ..engine.session import open_session, read_contract  # listing names needs no engine

    return [
        BundledModel(name, path.stat().st_size, read_contract(open_session(path, "cpu", 1), os.fspath(path)))
        for name, path in bundled_models(folder).items()
    ]


def find_models(model: str | os.PathLike[str], folder: Path | None = None) -> dict[int, Path]:
    """Return the absolute paths of the models for a name or a path.

    Args:
        model: DEFAULT_MODEL, the name of a bundled model, a path, or an address of the Hub; see `find_model`.
        folder: Folder of the bundled models; None for the package's own.

    Returns:
        Models by the keys of DEFAULT_MODELS: different ones for DEFAULT_MODEL where all are bundled, else the same.

    Raises:
        InputError: `model` is neither text nor a path.
        ModelError: There is no such model; the message lists the bundled names.
    """
    bundled = bundled_models(folder)
    if not isinstance(model, str) or model != DEFAULT_MODEL:
        return dict.fromkeys(DEFAULT_MODELS, find_model(model, folder).absolute())
    present = {channels: bundled[name] for channels, name in DEFAULT_MODELS.items() if name in bundled}
    if not present:
        names = " or ".join(DEFAULT_MODELS.values())
        raise ModelError(
            f"this installation has no default model ({names}). Give the path of an .onnx file; bundled models: "
            f"{_listed(bundled)}."
        )
    either = next(iter(present.values()))
    return {colors: present.get(colors, present.get(STRONG * colors, either)).absolute() for colors in DEFAULT_MODELS}


def find_model(model: str | os.PathLike[str], folder: Path | None = None) -> Path:
    """Return the path of a model given by bundled name, by path, or by an address `hf://...` (see `hub_model`).

    A bundled name takes precedence; write `./name` for a file of that name.

    Raises:
        InputError: `model` is neither text nor a path.
        ModelError: It is neither a bundled name nor a file that can be reached; the message lists the bundled names.
    """
    if not isinstance(model, str | os.PathLike):
        raise InputError(
            "a model must be the path of an .onnx file, its content as bytes, or the name of a bundled model; received "
            f"a value of type {type(model).__name__}. Leave it out for the bundled default."
        )
    bundled = bundled_models(folder)
    if isinstance(model, str) and model in bundled:
        return bundled[model]
    if isinstance(model, str) and model.startswith(PREFIX):
        return hub_model(model)
    path = Path(model)
    mode, what = 0, "is neither a file nor the name of a bundled model"
    try:
        mode = path.stat().st_mode if os.fspath(model) else 0
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a zero byte
        pass
    except OSError as error:
        what = f"cannot be reached: {error.strerror or error}"
    if stat.S_ISREG(mode):
        return path
    what = "is a folder" if stat.S_ISDIR(mode) else what
    raise ModelError(f"{os.fspath(model)!r} {what}. Give the path of an .onnx file; bundled models: {_listed(bundled)}.")


def _listed(bundled: dict[str, Path]) -> str:
    return ", ".join(bundled) or "none in this installation"
