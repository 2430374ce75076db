"""Export the network of each case, compare it with Keras, quantize it, and write down what came of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import keras
import onnx

from dae_export import ExportError, ParityError
from dae_export.graph.model import Graph
from dae_export.measure.parity import noisy_images
from dae_export.precision import QUANTIZED_KINDS, calibrate, quantize
from dae_export.source import KerasModel, read_network

from .cases import ALIASES, FIXED, NOT_FOR_IMAGES, Case, all_cases

OPSET, TOLERANCE = 18, 1e-5
AROUND = Counter({"Transpose": 2, "Conv": 2})
"""The nodes of the network around the layer."""
MOVING = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Gather", "Tile")
HEADINGS = ("layer", "ONNX nodes", "float32", "tiled", "INT8")


@dataclass(frozen=True)
class Row:
    """What came of a case."""

    case: Case
    nodes: str = ""
    """Nodes of the float32 graph beside those of the network around the layer."""
    tiled: bool = False
    """Whether an output pixel depends on pixels near it only."""
    floats: str = ""
    """Kinds that stay in float in INT8."""
    refusal: str = ""
    """Why there is no file; empty if there is one."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the table."""
        if self.refusal:
            return f"`{self.case.name}`", "", f"refused: {self.refusal}", "", ""
        error, tiles = ("1e-5", "yes" if self.tiled else "no") if self.nodes else ("-", "-")
        return f"`{self.case.name}`", self.nodes or "none", error, tiles, f"float: {self.floats}" if self.floats else "8 bits"


def measure(case: Case) -> Row:
    """Export a case, compare it with Keras, and quantize it."""
    try:
        network = read_network(KerasModel(case.network(), "the model"), OPSET)
        network.parity(network.model, TOLERANCE)
    except ParityError:
        return Row(case, refusal=f"the graph differs from Keras by more than {TOLERANCE:.0e}".replace("e-0", "e-"))
    except ExportError as error:
        return Row(case, refusal=_reason(str(error)))
    ranges = calibrate(network.model, [noisy_images((2, *FIXED) if case.fixed else (2, 24, 24, 1))])
    own = Counter(Graph(network.model).kinds())
    own.subtract(AROUND)
    nodes = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in own.items() if count > 0)
    floats = ", ".join(sorted(set(float_kinds(quantize(network.model, ranges)))))
    return Row(case, nodes, network.images.halo_px is not None, floats)


def float_kinds(model: onnx.ModelProto) -> Iterable[str]:
    """Yield the kinds of the nodes of a QDQ model that compute in float, without those that only move data."""
    graph = Graph(model)
    for node in graph.nodes:
        makers = [graph.producer(name) for name in node.input if name and name not in graph.constants]
        reads = all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)
        writes = all(user.op_type == "QuantizeLinear" for user in graph.consumers(node.output[0]))
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", *MOVING):
            continue
        if node.op_type not in QUANTIZED_KINDS or not (reads and writes):
            yield node.op_type


def unlisted() -> list[str]:
    """Return the layers and activations of Keras that are neither cases nor not for images."""
    words = {word for case in all_cases() for word in re.findall(r"\w+", case.name)}
    strange = [word for text in NOT_FOR_IMAGES.values() for word in text.split()]
    names = [name for name in dir(keras.layers) if name[0].isupper()]
    names += [name for name in dir(keras.activations) if name[0].islower() and name not in ("deserialize", "get", "serialize")]
    return [name for name in names if _usual(name) not in words and not any(word in name for word in strange)]


def table(cases: Iterable[Case] | None = None) -> str:
    """Return the table of all cases as Markdown."""
    parts = []
    for group, rows in groupby(map(measure, all_cases() if cases is None else cases), lambda row: row.case.group):
        lines = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells() for row in rows)]
        parts.append(f"### {group}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n")
    listed = {word for case in all_cases() for word in re.findall(r"\w+", case.name)}
    others = [name for name in dir(keras.layers) if name[0].isupper() and _usual(name) not in listed]
    named = []
    for reason, words in NOT_FOR_IMAGES.items():
        found = [name for name in others if any(word in name for word in words.split())]
        others = [name for name in others if name not in found]
        named.append(f"- {reason}: {', '.join(f'`{name}`' for name in found)}")
    return "\n".join([*parts, "### Not for images\n", *named]) + "\n"


def _usual(name: str) -> str:
    for second, first in ALIASES.items():
        name = name.replace(second, first) if name.startswith((second, "Separable", "Depthwise")) else name
    return name


def _reason(text: str) -> str:
    """Return the cause from an error text, without node numbers, which depend on nothing that matters."""
    text = text.removeprefix("the model cannot be converted to ONNX: ").split(". ")[0]
    return re.sub(r"node \w+_\d+: ", "", text)
