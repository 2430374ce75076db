"""What an export makes of a network: the graph in the precision and with the edges that were asked for, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import onnx

from dae_runtime.contract import Calibration, Parity, Quality

from ..graph.any_size import take_any_size
from ..measure.gates import Gate
from ..measure.quality import Judgment, judge
from ..measure.samples import Samples, made_up_samples
from ..options import ExportOptions
from ..precision import to_uint8
from ..source import Network
from .variants import Form


@dataclass(frozen=True)
class Product:
    """A graph that passed every gate."""

    model: onnx.ModelProto
    """What is written."""
    precision: str
    """As in the contract."""
    form: Form
    """The float32 graph that it was made from."""
    float32: onnx.ModelProto
    """The float32 model that would have been written; `model` itself for a float32 file of float edges."""
    gates: tuple[Gate, ...] = ()
    """What its precision was held to."""
    judgment: Judgment | None = None
    """The loss of precision; None for float32."""
    written: Judgment | None = None
    """What is written, with its edges, against float32; None if nothing asks for it."""
    float_layers: tuple[str, ...] = ()
    """Layers of an INT8 model that stayed in float."""
    float_share: float = 0.0
    """Their share of the network's MACs, 0 to 1."""
    calibration: Calibration | None = None
    """How the ranges of an INT8 model were found; None for others."""
    speedup: float | None = None
    """Of INT8 against `float32`; None for others."""

    @property
    def parity(self) -> Parity:
        """The form against the Keras model."""
        return self.form.parity

    @property
    def quality(self) -> Quality | None:
        """None without clean references."""
        return self.written.quality if self.written else None


class Strategy(Protocol):
    """How a network is written in one precision."""

    @property
    def name(self) -> str:
        """As in the contract: `fp32`, `fp16` or `int8`."""

    @property
    def suffix(self) -> str:
        """What the name of its file ends in by default, before `.onnx`."""

    @property
    def needs_samples(self) -> str | None:
        """What it needs noisy images for, as the beginning of a sentence; None if it needs none."""

    def build(self, network: Network, samples: Samples | None) -> Product:
        """Write a network of float edges.

        Raises:
            ParityError: The graph differs from the Keras model.
            CalibrationError: There are no samples, and it needs them.
            GateError: It loses more, or gains less, than what is allowed.
        """


def make_product(strategy: Strategy, network: Network, samples: Samples | None, options: ExportOptions) -> Product:
    """Make what `options` ask for.

    Args:
        strategy: From `choose_strategy`.
        network: From `read_network`.
        samples: Noisy images; what the quality is measured on.
        options: What is asked for.

    Raises:
        ParityError, CalibrationError, GateError: As `Strategy.build`.
    """
    product = strategy.build(network, samples)
    model = product.model
    if options.io == "uint8":
        model = to_uint8(model, product.precision)
    if options.pad and network.images.fixed_size is None:
        model = take_any_size(model, network.images.alignment_px)
    is_float32 = product.judgment is None and options.io == "float32"
    product = replace(product, model=model, float32=model if is_float32 else product.float32)
    return replace(product, written=_judged(product, network, samples, options))


def _judged(product: Product, network: Network, samples: Samples | None, options: ExportOptions) -> Judgment | None:
    """Return the judgment of what is written: the one that is there, unless 8-bit edges round once more."""
    details = options.report is not None
    if options.io == "float32" and product.judgment is not None:
        return product.judgment
    if samples is None and details:
        samples = made_up_samples(network.images, network.sigma)
    if samples is None or not (samples.clean or details):
        return None
    reference = product.model if product.float32 is product.model else product.form.model
    return judge(reference.SerializeToString(), product.model.SerializeToString(), samples, details)
