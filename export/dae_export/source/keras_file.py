"""The trained Keras model and its description; the only module that imports Keras.

A source is a run directory of `dae-train` or a single `.keras` file. The model is loaded without its optimizer and always
computes in float32 on the CPU: a GPU rounds differently (TensorFloat-32 keeps 10 bits of the mantissa), which would count as
an error of the exported file.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dae_runtime.contract import SIGMA_NAME, RunDirectory, check_network_file, read_description
from dae_runtime.errors import DaeError
from dae_runtime.pixels.arrays import FloatArray

from ..errors import KerasFileError

UNKNOWN_NOISE = "unknown"
CHANNELS = (1, 3)


@dataclass(frozen=True)
class Source:
    """Origin of a model, determined without a framework."""

    model: Any
    """Path of the `.keras` file, or a `keras.Model` in memory."""
    name: str
    """Name of the model, for people."""
    preset: str | None
    """Architecture, or None if only the model knows it."""
    noise: str
    """Noise specification, or `unknown`."""
    calibration_path: Path | None
    """Calibration samples of the training run, if any."""
    folder: Path | None
    """Default folder of the exported file; None for a model in memory."""
    custom_objects: Mapping[str, Any] | None = None
    """Layers and functions of the calling program, by the names in the file."""


def find_source(source: str | os.PathLike[str] | Any) -> Source:
    """Return the source for a run directory, a `.keras` file or a `keras.Model` in memory.

    Raises:
        KerasFileError: The path does not exist, or contains no model.
        DaeError: The folder has no readable run description.
    """
    if not isinstance(source, str | os.PathLike):
        return _from_memory(source)
    given = Path(source)
    if given.is_dir():
        return _from_run(RunDirectory(given))
    if not given.is_file():
        raise KerasFileError(f"{given} does not exist. Give a run directory of dae-train, or a .keras file.")
    if given.suffix != ".keras":
        raise KerasFileError(
            f"{given}: expected a run directory of dae-train or a .keras file, received {given.suffix or 'no suffix'}. "
            "Save the model with model.save('name.keras')."
        )
    samples = RunDirectory(given.parent).calibration
    return Source(given, given.stem, None, UNKNOWN_NOISE, samples if samples.is_file() else None, given.parent)


def _from_memory(model: Any) -> Source:
    keras = sys.modules.get("keras")  # imported with the model
    if keras is None or not isinstance(model, keras.Model):
        raise KerasFileError(
            f"expected a path or a keras.Model, received {type(model).__name__}. Give a run directory of dae-train, the path "
            "of a .keras file, or a Keras model."
        )
    return Source(model, str(model.name), None, UNKNOWN_NOISE, None, None)


def _from_run(run: RunDirectory) -> Source:
    description = read_description(run)
    if not run.best_model.is_file():
        raise KerasFileError(
            f"{run.root} has no {run.best_model.name}: its training ended before the first epoch. "
            "Continue it with dae-train --resume."
        )
    return Source(
        model=run.best_model,
        name=run.root.resolve().name,
        preset=_text(description, "model", "preset"),
        noise=_text(description, "noise", "spec") or UNKNOWN_NOISE,
        calibration_path=run.calibration if run.calibration.is_file() else None,
        folder=run.root,
    )


def _text(description: dict[str, Any], table: str, key: str) -> str | None:
    entry = description.get(table)
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, str) and value else None


class KerasModel:
    """A loaded Keras model from one image tensor, and the noise level if it takes one, to one of the image's shape."""

    def __init__(self, model: Any, where: str) -> None:
        """Check that `model` is a denoiser.

        Args:
            model: A built Keras model.
            where: Origin, for error messages.

        Raises:
            KerasFileError: It has other inputs or outputs, its input is not an image, or its output has another shape.
        """
        self.model = model
        self.where = where
        self.name = str(model.name)
        shape = _input_shape(model, where)
        self.channels = int(shape[3])
        self.fixed_size: tuple[int, int] | None = None if shape[1] is None else (int(shape[1]), int(shape[2]))
        """Height and width in pixels, or None if free."""
        self.takes_sigma = len(model.inputs) > 1
        """Whether it is given the noise level, as a second input."""
        self._check_output()

    @property
    def probe_size(self) -> tuple[int, int]:
        """A height and width in pixels that all strides divide; not square unless fixed."""
        if self.fixed_size:
            return self.fixed_size
        step = math.prod(_stride(layer) for layer in _layers(self.model))
        unit = step * math.ceil(8 / step)
        return 2 * unit, 3 * unit

    def __call__(self, noisy: FloatArray, sigma: FloatArray | None = None) -> FloatArray:
        """Run the model in inference mode: (N, H, W, C) float32 in and out, nominally in [0, 1].

        Args:
            noisy: The images.
            sigma: Their noise levels, (N, 1), if the model takes them.

        Raises:
            KerasFileError: TensorFlow has no kernel for one of its layers on this processor.
        """
        from tensorflow import errors

        try:
            with _cpu():
                return np.asarray(self.model(noisy if sigma is None else [noisy, sigma], training=False), np.float32)
        except errors.UnimplementedError as error:
            raise KerasFileError(
                f"{self.where}: TensorFlow cannot run it on this processor ({error_line(error)}). Set TF_ENABLE_ONEDNN_OPTS=1 "
                "before TensorFlow is imported, or give the layers data_format='channels_last'."
            ) from error

    def _check_output(self) -> None:
        shape = (1, *self.probe_size, self.channels)
        with _cpu():
            output = tuple(self.model.compute_output_shape([shape, (1, 1)] if self.takes_sigma else shape))
        if len(output) != 4 or any(after not in (None, before) for after, before in zip(output, shape, strict=True)):
            raise KerasFileError(
                f"{self.where}: expected a model that keeps the shape of images; for {shape} it returns "
                f"{output}. Export a model whose last layer has {self.channels} channels at full resolution."
            )


def load(source: Source) -> KerasModel:
    """Load the model of a source.

    Raises:
        KerasFileError: The file is damaged, needs custom objects, or is not a denoiser.
    """
    keras, given = import_keras(), source.model
    try:
        if isinstance(given, Path) and zipfile.is_zipfile(given):
            check_network_file(given)
        with _cpu(), keras.saving.custom_object_scope(dict(source.custom_objects or {})):
            model = _in_float32(keras.models.load_model(given, compile=False) if isinstance(given, Path) else given)
    except Exception as error:  # Keras raises ValueError, TypeError, OSError, BadZipFile, KeyError
        raise KerasFileError(_load_problem(given, error)) from error
    return KerasModel(model, os.fspath(given) if isinstance(given, Path) else f"the model {source.name!r}")


def error_line(error: Exception) -> str:
    """Return the line of an error that says what is wrong; Keras prints it in bold between its traceback and arguments."""
    bold = re.search(r"\x1b\[1m(.+?)\x1b", str(error), re.DOTALL)
    text = re.sub(r"\{\{.*?\}\}", "", bold[1] if bold else str(error))
    return f"{type(error).__name__}: {text.strip().split(chr(10))[0]}".rstrip(".")


def import_keras() -> Any:
    """Import Keras with the TensorFlow backend, regardless of the environment.

    Raises:
        KerasFileError: This process has imported Keras with another backend.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # its kernels for data_format "channels_first", else with VNNI only
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        import keras
    finally:
        if before is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = before
    if keras.backend.backend() != "tensorflow":
        raise KerasFileError(
            f"Keras runs on {keras.backend.backend()} in this process; the export needs TensorFlow. "
            "Export in a process of its own, or set KERAS_BACKEND=tensorflow before Keras is imported."
        )
    return keras


@contextlib.contextmanager
def _cpu() -> Iterator[None]:
    import tensorflow

    with tensorflow.device("/CPU:0"):
        yield


def _load_problem(path: Any, error: Exception) -> str:
    if not isinstance(path, Path):
        return f"the model cannot be rebuilt in float32: {type(error).__name__}: {error}. Use the dtype policy float32."
    if not zipfile.is_zipfile(path):
        return f"{path} is damaged or not a .keras file: it is not a zip archive. Save or train the model again."
    text = str(error).strip()
    if isinstance(error, DaeError):
        return text
    if match := re.search(r"Could not locate (?:class|function) '([^']+)'", text):
        return (
            f"{path} needs {match[1]!r}, which is not part of Keras. Save the model without noise, losses and metrics; for a "
            f"layer of your own, export in Python with custom_objects={{{match[1]!r}: ...}}, see docs/python-api.md."
        )
    if "Lambda" in text:
        return f"{path} holds a Lambda layer, which runs stored code. Replace it with a standard Keras layer and save again."
    reason = (text.split("\n")[0] or type(error).__name__).rstrip(".")
    return f"{path} cannot be loaded as a Keras model: {type(error).__name__}: {reason}. Save or train the model again."


def _input_shape(model: Any, where: str) -> tuple[Any, ...]:
    if not getattr(model, "inputs", None):
        raise KerasFileError(f"{where}: the model has no inputs. Build it with a keras.Input.")
    takes_sigma = len(model.inputs) == 2 and model.inputs[1].name == SIGMA_NAME and tuple(model.inputs[1].shape) == (None, 1)
    if not (len(model.inputs) == 1 or takes_sigma) or len(model.outputs) != 1:
        raise KerasFileError(
            f"{where}: a denoiser has one input, the image (or a second one, {SIGMA_NAME!r}, (N, 1), the noise level), and "
            f"one output; this model has {len(model.inputs)} and {len(model.outputs)}. "
            "Export the part that takes the noisy image and returns the clean one."
        )
    shape = tuple(model.inputs[0].shape)
    if len(shape) != 4 or shape[3] not in CHANNELS or (shape[1] is None) != (shape[2] is None):
        raise KerasFileError(
            f"{where}: expected an input of shape (N, H, W, C) with 1 or 3 channels last, and height and width both free or "
            f"both fixed; received {shape}. Build the model with such an input."
        )
    return shape


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        else:
            yield layer


def _stride(layer: Any) -> int:
    """Return a multiple of the factor by which a layer reduces the image size."""
    if "Transpose" in type(layer).__name__:
        return 1
    strides = getattr(layer, "strides", 1)
    return math.prod(set(strides)) if isinstance(strides, tuple | list) else int(strides)


def _in_float32(model: Any) -> Any:
    """Return `model` with all layers in float32, for models of mixed precision."""
    if all(layer.dtype_policy.compute_dtype == "float32" for layer in _layers(model)):
        return model
    twin = type(model).from_config(_with_float32(model.get_config()))
    twin.set_weights([np.asarray(weight, np.float32) for weight in model.get_weights()])
    return twin


def _with_float32(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: "float32" if key == "dtype" else _with_float32(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_with_float32(value) for value in config)
    return config
