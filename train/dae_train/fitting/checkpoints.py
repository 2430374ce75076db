"""Saved models: the best one, and the last one to resume from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from dae_runtime.contract import check_network_file
from dae_runtime.system.atomic import atomic_path

from ..errors import RunError
from ..learning import optimizers  # noqa: F401  # makes its optimizers known to Keras, which reads them from files


def save_model(model: keras.Model, path: Path) -> None:
    """Write a model atomically."""
    with atomic_path(path) as temporary:
        model.save(temporary)


def save_with_optimizer(model: keras.Model, optimizer: Any, path: Path) -> None:
    """Write a model with the state of its optimizer.

    The model itself stays uncompiled: a second model of the same layers holds the optimizer.
    """
    carrier = keras.Model(model.inputs, model.outputs, name=model.name)
    carrier.compile(optimizer=optimizer)
    save_model(carrier, path)


def load_model(path: Path) -> keras.Model:
    """Load a model of a run, not compiled.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        check_network_file(path)
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras and TensorFlow raise many types
        raise RunError(f"{path} cannot be loaded ({error}). Restore it, or start the run again with --overwrite.") from error


def load_last(path: Path, denoiser: keras.Model, optimizer: Any) -> int:
    """Restore weights and optimizer state into a network and an optimizer of the same structure.

    Args:
        path: File of `save_with_optimizer`.
        denoiser: Changed in place.
        optimizer: Changed in place; built if necessary.

    Returns:
        The number of weight updates so far.

    Raises:
        RunError: The file is damaged or has another network.
    """
    try:
        check_network_file(path)
        loaded = keras.models.load_model(path)
        denoiser.set_weights(loaded.get_weights())
        if not optimizer.built:
            optimizer.build(denoiser.trainable_variables)
        ours, theirs = optimizer, loaded.optimizer
        if type(ours) is not type(theirs):  # float16 of a GPU has its losses scaled, bfloat16 of a CPU has not
            ours, theirs = (getattr(each, "inner_optimizer", each) for each in (ours, theirs))
        for variable, saved in zip(ours.variables, theirs.variables, strict=True):
            variable.assign(saved)
        optimizer.iterations.assign(theirs.iterations)
    except Exception as error:
        raise RunError(f"{path} cannot be resumed from ({error}). Start the run again with --overwrite.") from error
    return int(optimizer.iterations.numpy() if hasattr(optimizer.iterations, "numpy") else optimizer.iterations)
