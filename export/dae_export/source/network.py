"""The network to export: its Keras model and its canonical graph."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import onnx

from dae_runtime.contract import ImageSpec, Parity, SigmaInput

from ..canonical import canonicalize
from ..graph.geometry import image_spec
from ..measure.parity import check_parity, parity_shapes
from .convert import convert
from .keras_file import KerasModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Network:
    """A Keras model and its canonical graph."""

    keras: KerasModel
    model: onnx.ModelProto
    """The canonical float32 graph."""
    images: ImageSpec
    """The images that it accepts."""
    sigma: SigmaInput | None = None
    """The noise levels that it was trained on; None if it takes none."""

    def parity(self, model: onnx.ModelProto, tolerance: float) -> Parity:
        """Compare a float32 graph with the Keras model.

        Raises:
            ParityError: They differ by more than `tolerance`, in units of the value range [0, 1].
        """
        shapes = parity_shapes(self.images)
        parity = check_parity(model.SerializeToString(), self.keras, shapes, tolerance, self.sigma)
        logger.info("parity: at most %.3g over %d shapes", parity.max_abs_error, len(parity.shapes))
        return parity


def read_network(keras: KerasModel, opset: int) -> Network:
    """Convert a Keras model to its canonical graph.

    Raises:
        ConversionError: It cannot be converted to an ONNX graph.
    """
    graph = convert(keras, opset)
    canonicalize(graph, keras.fixed_size)
    images = image_spec(graph)
    if images.alignment_px == 2:
        images = replace(images, alignment_px=4)  # allows first and last layers in blocks of 4 pixels
    logger.info("converted: %s; alignment %d px, halo %s px", graph.kinds(), images.alignment_px, images.halo_px)
    return Network(keras, graph.to_model(), images)
