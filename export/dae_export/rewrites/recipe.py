"""Recipes: which rewrites to apply, and their order."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from ..graph.model import Graph
from .blocks import widen_narrow_outputs
from .columns import group_columns
from .lanes import fill_lanes
from .layout import cancel_layout
from .phases import split_into_phases
from .subpixel import mirror_stride_one, split_into_rows, to_depth_to_space


@dataclass(frozen=True)
class Recipe:
    """A selection of rewrites. All are exact, so only the speed differs."""

    name: str
    upsampling: str = "rows"
    """How a ConvTranspose is computed: `phases`, `sums_of_phases`, `rows`, `depth_to_space`, or `keep`."""
    columns: int = 4
    """Multiple of input channels of the first layer, by grouping columns; 1 keeps it."""
    blocks: int = 16
    """Output channels below which the last layer computes blocks of pixels; 1 keeps it."""
    lanes: int = 1
    """Output channels are padded to a multiple of this."""


CANONICAL = Recipe("canonical", upsampling="keep", columns=1, blocks=1)
PHASES = Recipe("phases", upsampling="sums_of_phases", columns=1)
ROWS = Recipe("rows")
DEPTH_TO_SPACE = Recipe("depth-to-space", upsampling="depth_to_space")
INTEGER_PHASES = Recipe("phases-16", upsampling="phases", lanes=16)
INTEGER_ROWS = Recipe("rows-16", lanes=16)
INTEGER_SUMS = Recipe("sums-16", upsampling="sums_of_phases", lanes=16)

FLOAT_CANDIDATES = (CANONICAL, PHASES, ROWS)
INTEGER_CANDIDATES = (CANONICAL, INTEGER_PHASES, INTEGER_ROWS, INTEGER_SUMS)


def apply(model: onnx.ModelProto, recipe: Recipe, alignment_px: int) -> onnx.ModelProto:
    """Return the rewritten model; `model` is not changed.

    Args:
        model: A canonical float32 graph with NHWC input and output.
        recipe: The rewrites.
        alignment_px: Free heights and widths are multiples of this.
    """
    graph = Graph(model)
    if recipe.upsampling != "keep":
        mirror_stride_one(graph)
    if recipe.upsampling == "sums_of_phases":  # before the last layer is rewritten, which the sums replace
        split_into_phases(graph, alignment_px)
    if recipe.blocks > 1:
        widen_narrow_outputs(graph, alignment_px, recipe.blocks)
        to_depth_to_space(graph, alignment_px, recipe.blocks)
    if recipe.columns > 1:
        group_columns(graph, alignment_px, recipe.columns)
    if recipe.upsampling == "phases":
        split_into_phases(graph, alignment_px, lanes=1)
    elif recipe.upsampling == "rows":
        split_into_rows(graph)
    elif recipe.upsampling == "depth_to_space":
        to_depth_to_space(graph)
    if recipe.lanes > 1:
        fill_lanes(graph, recipe.lanes)
    cancel_layout(graph)
    return graph.to_model()
