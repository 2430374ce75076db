"""Forms of a network, canonical or rewritten, and the choice of the fastest on this machine.

All forms compute the same function, so a form that fails is skipped with a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from dae_runtime.contract import Parity

from ..errors import ParityError
from ..measure.batches import Batch
from ..measure.tune import Choice, fastest, tuning_shape
from ..options import STAGES
from ..precision import calibrate, quantize
from ..rewrites import CANONICAL, FLOAT_CANDIDATES, INTEGER_CANDIDATES, Recipe, apply
from ..source import Network

FLOAT_REFERENCE = "canonical float32"
"""Name of the float32 graph that is timed with INT8 forms."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Form:
    """A float32 graph of the network with verified parity; INT8 is built from it."""

    name: str
    """Name of its recipe."""
    model: onnx.ModelProto
    parity: Parity
    choice: Choice | None
    """The timed candidates; None with a single one."""


def choose_float(network: Network, tolerance: float, rewrite: bool = True) -> Form:
    """Return the form with the fastest float32 graph.

    Args:
        network: The network.
        tolerance: As in `Network.parity`.
        rewrite: False for the canonical form.

    Raises:
        ParityError: The canonical graph differs from the Keras model.
    """
    models = rewritten(network.model, FLOAT_CANDIDATES if rewrite else (CANONICAL,), network.images.alignment_px)
    return _verified(network, models, _fastest(network, models), tolerance)


def choose_integer(network: Network, samples: Batch, tolerance: float, rewrite: bool = True) -> Form:
    """Return the form with the fastest INT8 version.

    Args:
        network: The network.
        samples: A few noisy images, (N, H, W, C) float32, with the levels that the network takes; times hardly depend on the
            calibration.
        tolerance: As in `Network.parity`.
        rewrite: False for the canonical form.

    Raises:
        ParityError: The canonical graph differs from the Keras model.
    """
    models = rewritten(network.model, INTEGER_CANDIDATES if rewrite else (CANONICAL,), network.images.alignment_px)
    integer = {name: quantize(model, calibrate(model, [samples])) for name, model in models.items()}
    choice = _fastest(network, integer, {FLOAT_REFERENCE: network.model})
    return _verified(network, models, choice, tolerance)


def rewritten(model: onnx.ModelProto, recipes: Sequence[Recipe], alignment_px: int) -> dict[str, onnx.ModelProto]:
    """Rewrite a canonical graph in several ways.

    Args:
        model: The canonical graph, used as the first recipe.
        recipes: Candidates, the canonical form first.
        alignment_px: Free heights and widths are multiples of this.

    Returns:
        Graphs by recipe name, without duplicates and failures.
    """
    found = {recipes[0].name: model}
    seen = {apply(model, recipes[0], alignment_px).SerializeToString(deterministic=True)} if len(recipes) > 1 else set()
    for recipe in recipes[1:]:
        try:
            candidate = apply(model, recipe, alignment_px)
        except Exception as error:  # a failing rewrite costs speed, never the export
            logger.warning("rewrite %s skipped: %s: %s", recipe.name, type(error).__name__, error)
            continue
        content = candidate.SerializeToString(deterministic=True)
        if content not in seen:
            seen.add(content)
            found[recipe.name] = candidate
    return found


def _fastest(
    network: Network, models: dict[str, onnx.ModelProto], beside: dict[str, onnx.ModelProto] | None = None
) -> Choice | None:
    if len(models) == 1:
        return None
    logging.getLogger(STAGES).info("timing %d forms of the network on this machine ...", len(models))
    choice = fastest(models, tuning_shape(network.images), beside)
    logger.info("fastest form: %s of %s", choice.name, {name: f"{t.fastest_ms:.2f} ms" for name, t in choice.times.items()})
    return choice


def _verified(network: Network, models: dict[str, onnx.ModelProto], choice: Choice | None, tolerance: float) -> Form:
    if choice is not None and choice.name != CANONICAL.name:
        try:
            return Form(choice.name, models[choice.name], network.parity(models[choice.name], tolerance), choice)
        except ParityError as error:
            logger.warning("rewrite %s skipped: %s", choice.name, error)
            choice = None
    return Form(CANONICAL.name, network.model, network.parity(network.model, tolerance), choice)
