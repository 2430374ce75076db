"""Builds the exported graph in the requested precision and data type, and measures its loss."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Protocol

import onnx

from dae_runtime.contract import Calibration, Parity, Quality

from ..errors import GateError
from ..graph.any_size import take_any_size
from ..measure.gates import Gate, failed_gates, gain_gate
from ..measure.quality import Judgment, judge
from ..measure.samples import Samples, synthetic_samples
from ..options import STAGES, ExportOptions
from ..precision import to_uint8
from ..source import Network
from .variants import Form


@dataclass(frozen=True)
class Product:
    """A graph that passed every gate."""

    model: onnx.ModelProto
    """The written model."""
    precision: str
    """Precision as in the contract."""
    form: Form
    """The float32 graph that it was built from."""
    float32: onnx.ModelProto
    """The float32 model for comparison; `model` itself for a file of float32 precision and data type."""
    gates: tuple[Gate, ...] = ()
    """The gates on its precision."""
    judgment: Judgment | None = None
    """Loss by precision; None for float32."""
    written: Judgment | None = None
    """The written model against float32; None if not needed."""
    float_layers: tuple[str, ...] = ()
    """Layers of an INT8 model that stay in float."""
    float_share: float = 0.0
    """Their share of the MACs of the network, 0 to 1."""
    calibration: Calibration | None = None
    """Calibration of an INT8 model; None for others."""
    speedup: float | None = None
    """Speedup of INT8 over `float32`; None for others."""

    @property
    def parity(self) -> Parity:
        """Parity of the form with the Keras model."""
        return self.form.parity

    @property
    def quality(self) -> Quality | None:
        """Quality of the written model; None without clean references."""
        return self.written.quality if self.written else None


class Strategy(Protocol):
    """Builds a network in one precision."""

    @property
    def name(self) -> str:
        """Precision as in the contract: `fp32`, `fp16` or `int8`."""

    @property
    def suffix(self) -> str:
        """Suffix of the default file name, before `.onnx`."""

    @property
    def needs_samples(self) -> str | None:
        """Why it needs noisy images, as the start of an error text; None if it needs none."""

    def build(self, network: Network, samples: Samples | None) -> Product:
        """Build a network with float32 input and output.

        Raises:
            ParityError: The graph differs from the Keras model.
            CalibrationError: It needs samples and there are none.
            GateError: A quality or speed gate fails.
        """


def make_product(strategy: Strategy, network: Network, samples: Samples | None, options: ExportOptions) -> Product:
    """Build the product for the options.

    Args:
        strategy: From `choose_strategy`.
        network: From `read_network`.
        samples: Calibration and test samples.
        options: The options of the export.

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
    product = replace(product, written=_written_judgment(product, network, samples, options))
    return product if samples is None or product.quality is None else _with_gain(product, product.quality, options)


def _with_gain(product: Product, quality: Quality, options: ExportOptions) -> Product:
    """Return the product with the gate on its gain over the noisy samples."""
    gates = (gain_gate(quality, options.min_psnr_gain),)
    problem = failed_gates(gates)
    if problem is not None:
        raise GateError(
            f"the file {problem}. Train longer, or give samples of the noise that the network removes with --calibration-data."
        )
    return replace(product, gates=(*product.gates, *gates))


def _written_judgment(product: Product, network: Network, samples: Samples | None, options: ExportOptions) -> Judgment | None:
    """Return the judgment of the written model: that of the precision, unless uint8 output rounds again."""
    details = options.report is not None
    if options.io == "float32" and product.judgment is not None:
        return product.judgment
    if samples is None and details:
        samples = synthetic_samples(network.images, network.sigma)
    if samples is None or not (samples.clean or details):
        return None
    logging.getLogger(STAGES).info("measuring the written file ...")
    reference = product.model if product.float32 is product.model else product.form.model
    return judge(reference.SerializeToString(), product.model.SerializeToString(), samples, details)
