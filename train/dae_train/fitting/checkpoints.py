"""Saved models: the best one, and the last one to resume from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from dae_runtime.contract import check_network_file
from dae_runtime.system.atomic import atomic_path

from ..errors import RunError
from ..learning.optimizers import unscaled  # its import makes the optimizers known to Keras, which reads them from files

Share = Callable[[Callable[[], list[npt.NDArray[Any]]]], list[npt.NDArray[Any]]]


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


def load_last(path: Path, denoiser: keras.Model, optimizer: Any, share: Share = lambda make: make()) -> int:
    """Restore weights and optimizer state into a network and an optimizer of the same structure.

    Args:
        path: File of `save_with_optimizer`.
        denoiser: Changed in place.
        optimizer: Changed in place; built if necessary.
        share: Returns what its argument returns in the process that has the file.

    Returns:
        The number of weight updates so far.

    Raises:
        RunError: The file is damaged or has another network.
    """
    if not optimizer.built:
        optimizer.build(denoiser.trainable_variables)
    variables, scaling = _state(denoiser, optimizer)
    saved = share(lambda: _saved(path, variables, len(scaling)))
    for variable, value in zip([*variables, *scaling][: len(saved)], saved, strict=True):
        variable.assign(value)
    optimizer.iterations.assign(unscaled(optimizer).iterations)
    return int(keras.ops.convert_to_numpy(optimizer.iterations))


def _state(network: keras.Model, optimizer: Any) -> tuple[list[Any], list[Any]]:
    """Return the variables of a network and its optimizer, and those that scale losses, which only float16 needs."""
    inner = unscaled(optimizer).variables
    known = {id(variable) for variable in inner}
    return [*network.weights, *inner], [variable for variable in optimizer.variables if id(variable) not in known]


def _saved(path: Path, variables: list[Any], scaling: int) -> list[npt.NDArray[Any]]:
    """Return the values of variables in a file of `save_with_optimizer`, and of as many that scale losses if it has them."""
    try:
        check_network_file(path)
        loaded = keras.models.load_model(path)
        theirs, theirs_scaling = _state(loaded, loaded.optimizer)
        expected, received = ([tuple(variable.shape) for variable in each] for each in (variables, theirs))
        if received != expected:
            raise ValueError(f"expected arrays of the shapes {expected}, received {received}")
        both = [*theirs, *theirs_scaling] if len(theirs_scaling) == scaling else theirs
        return [np.array(keras.ops.convert_to_numpy(variable)) for variable in both]
    except Exception as error:
        raise RunError(f"{path} cannot be resumed from ({error}). Start the run again with --overwrite.") from error
