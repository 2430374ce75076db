"""The network to export: its Keras model, its canonical graph, and what is known about both."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import onnx

from dae_runtime.contract import Parity

from ..canonical import canonicalize
from ..graph.geometry import Geometry, fixed_geometry, measure
from ..measure.parity import check_parity, parity_shapes
from ..measure.samples import Fit
from .convert import convert
from .keras_file import KerasModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Network:
    """A Keras model and its canonical graph."""

    keras: KerasModel
    model: onnx.ModelProto
    """The canonical float32 graph."""
    geometry: Geometry
    fit: Fit
    """The images that it takes."""

    def parity(self, model: onnx.ModelProto, tolerance: float) -> Parity:
        """Compare a float32 graph with the Keras model.

        Raises:
            ParityError: They differ by more than `tolerance`, in units of the value range [0, 1].
        """
        shapes = parity_shapes(self.fit.channels, self.geometry.alignment_px, self.fit.fixed_size)
        parity = check_parity(model.SerializeToString(), self.keras, shapes, tolerance)
        logger.info("parity: %.3g at most over %d shapes", parity.max_abs_error, len(parity.shapes))
        return parity

    def size_near(self, side_px: int) -> tuple[int, int]:
        """Return a height and width that the network takes: the fixed ones, or the multiples of the alignment below a side."""
        side = max(side_px // self.geometry.alignment_px, 1) * self.geometry.alignment_px
        return self.fit.fixed_size or (side, side)


def read_network(keras: KerasModel, opset: int) -> Network:
    """Convert a Keras model to its canonical graph.

    Raises:
        ConversionError: It cannot be written as an ONNX graph of ours.
    """
    graph = convert(keras, opset)
    canonicalize(graph, keras.fixed_size)
    geometry = _in_blocks(measure(graph)) if keras.fixed_size is None else fixed_geometry()
    logger.info("converted: %s; alignment %d px, halo %s px", graph.kinds(), geometry.alignment_px, geometry.halo_px)
    fit = Fit(keras.channels, geometry.alignment_px, keras.fixed_size)
    return Network(keras, graph.to_model(), geometry, fit)


def _in_blocks(geometry: Geometry) -> Geometry:
    """Let a network that needs even sizes ask for multiples of 4: its edges can then be computed in blocks of 4 pixels."""
    return replace(geometry, alignment_px=4) if geometry.alignment_px == 2 else geometry
