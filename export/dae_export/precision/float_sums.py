"""Residual sums of a network that is given the noise level: added in float32, and rounded only where a layer reads them.

`x + layer(x)` in integers rounds x anew to 8 bits in every block, over the range of all channels, and the error grows from
block to block. Here each block adds to the sum as it was before rounding, so that what 8 bits lose in one block is not carried
on. A sum of two floats is the same on every processor (IEEE 754-2019, 5.4.1).

Such a network is told weak noise, of which each rounding takes a part; see docs/decisions/0007-noise-level-input.md.
"""

from __future__ import annotations

from ..graph.model import Graph


def keep_sums(graph: Graph) -> None:
    """Let the sums of a QDQ graph that is given the noise level take earlier sums unrounded, in place.

    What a convolution gives stays rounded to 8 bits, over a range of its own: it comes out of integer arithmetic. So does the
    sum with what the level adds, whose last bit may depend on the processor. Without a level a graph stays as it is.
    """
    if graph.sigma is None:
        return
    levels = graph.of_sigma()
    for node in graph.nodes:
        if node.op_type == "Add":
            node.input[:] = [_unrounded_sum(graph, name, levels) or name for name in node.input]
    graph.clean()


def _unrounded_sum(graph: Graph, name: str, levels: set[str]) -> str | None:
    """Return the sum of which a tensor is the rounded value; None if it is another tensor."""
    unpack = graph.producer(name)
    pack = graph.producer(unpack.input[0]) if unpack is not None and unpack.op_type == "DequantizeLinear" else None
    if pack is None or pack.op_type != "QuantizeLinear":
        return None
    maker = graph.producer(pack.input[0])
    is_sum = maker is not None and maker.op_type == "Add" and not levels.intersection(maker.input)
    return pack.input[0] if is_sum else None
