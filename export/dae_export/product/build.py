"""What an export makes of a network: the graph in the precision and with the edges that were asked for, and what it costs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx

from dae_runtime.contract import Quality

from ..errors import CalibrationError, GateError
from ..graph.any_size import take_any_size
from ..graph.macs import count_macs
from ..measure.gates import Limits, check_speedup, complaint, slower_than_float
from ..measure.quality import Judgment, judge, measure_quality
from ..measure.samples import Samples
from ..measure.tune import speedup, tuning_shape
from ..options import AUTO, ExportOptions
from ..precision import (
    IntegerWeights,
    Quantized,
    Ranges,
    calibrate,
    quantize,
    quantize_within,
    round_weights,
    to_float16,
    to_uint8,
)
from ..source import Network
from .model_file import first_image
from .variants import Form, choose_float, choose_integer

COUNTING_SIDE_PX = 64
"""About the side of the image whose MACs are counted: the count per pixel is the same for any."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Product:
    """A graph that passed every gate."""

    model: onnx.ModelProto
    """What is written."""
    form: Form
    """The float32 graph that it was made from."""
    quality: Quality | None = None
    """None without clean references."""
    judgment: Judgment | None = None
    """The loss of precision; None for float32, and for float16 without samples."""
    float_layers: tuple[str, ...] = ()
    """Layers of an INT8 model that stayed in float."""
    float_share: float = 0.0
    """Their share of the network's MACs, 0 to 1."""
    calibration_method: str | None = None
    """How the ranges of an INT8 model were found; None for others."""
    speedup: float | None = None
    """Of INT8 against the float32 model that would have been written; None for others."""
    float32: onnx.ModelProto | None = None
    """That float32 model; None if it was not needed."""


def make_product(network: Network, samples: Samples | None, options: ExportOptions) -> Product:
    """Make what `options` ask for.

    Args:
        network: From `read_network`.
        samples: Noisy images; needed for INT8, and what the quality of anything else is measured on.
        options: What is asked for.

    Raises:
        ParityError: The graph differs from the Keras model.
        CalibrationError: INT8 or FP16 without samples.
        GateError: It loses more, or gains less, than what is allowed.
    """
    if options.quantize:
        product = _integer(network, samples, options)
    elif options.dtype == "fp16":
        product = _half(network, samples, options)
    else:
        form = choose_float(network, options.atol, options.rewrite)
        product = Product(form.model, form, float32=form.model)
    if options.io == "uint8":
        product = replace(product, model=to_uint8(product.model, options.precision))
    if options.pad and network.fit.fixed_size is None:
        product = replace(product, model=take_any_size(product.model, network.geometry.alignment_px))
    return replace(product, quality=_quality(product, samples, options))


def counted_size(network: Network) -> tuple[int, int]:
    """Return the height and width in pixels of the image whose MACs are counted."""
    return network.size_near(COUNTING_SIDE_PX)


def _integer(network: Network, samples: Samples | None, options: ExportOptions) -> Product:
    if samples is None:
        raise CalibrationError("INT8 needs noisy images to calibrate with. Give them with --calibration-data.")
    few = first_image(samples.calibration)
    form = choose_integer(network, few, options.atol, options.rewrite)
    weights = round_weights(form.model, samples.calibration, network.fit.alignment_px)
    ranges = _ranges(form.model, samples, weights, options)
    macs = count_macs(network.model, *counted_size(network))
    limits = Limits(options.max_psnr_drop, options.max_color_shift)
    quantized = quantize_within(form.model, ranges, weights, samples, limits, macs)
    product = Product(
        model=quantized.model,
        form=form,
        judgment=quantized.judgment,
        float_layers=quantized.float_layers,
        float_share=quantized.float_share,
        calibration_method=ranges.method,
    )
    float32 = choose_float(network, options.atol, options.rewrite).model
    gained = _speedup(network, float32, quantized)
    if options.min_speedup is not None:
        check_speedup(gained, options.min_speedup)
    elif gained < 1:
        logger.warning("%s", slower_than_float(gained))
    return replace(product, float32=float32, speedup=gained)


def _ranges(model: onnx.ModelProto, samples: Samples, weights: Mapping[str, IntegerWeights], options: ExportOptions) -> Ranges:
    """Find the ranges of the activations; where the method is open, the calibration samples decide, not those that judge."""
    if options.calibration_method != AUTO:
        return calibrate(model, samples.calibration, options.calibration_method)
    seen = replace(samples, test=samples.calibration, clean=None)
    found = [calibrate(model, samples.calibration, method) for method in ("minmax", "percentile")]

    def agreement_db(ranges: Ranges) -> float:
        candidate = quantize(model, ranges, (), weights)
        return judge(model.SerializeToString(), candidate.SerializeToString(), seen).agreement_db

    return max(found, key=agreement_db)


def _half(network: Network, samples: Samples | None, options: ExportOptions) -> Product:
    if samples is None:
        raise CalibrationError("FP16 needs noisy images to be judged on. Give them with --calibration-data.")
    # The canonical form: CUDA has fast transposed convolutions, and times on a CPU say nothing about it.
    form = choose_float(network, options.atol, rewrite=False)
    model = to_float16(form.model)
    judgment = judge(form.model.SerializeToString(), model.SerializeToString(), samples)
    problem = complaint(judgment, Limits(options.max_psnr_drop, options.max_color_shift))
    if problem is not None:
        raise GateError(f"FP16 {problem}. Export fp32, or allow more.")
    return Product(model, form, judgment=judgment, float32=form.model)


def _speedup(network: Network, float32: onnx.ModelProto, quantized: Quantized) -> float:
    fit = network.fit
    return speedup(float32, quantized.model, tuning_shape(fit.channels, fit.alignment_px, fit.fixed_size))


def _quality(product: Product, samples: Samples | None, options: ExportOptions) -> Quality | None:
    if samples is None or samples.clean is None:
        return None
    if options.io == "uint8":  # rounding to 8 bits at the edges counts, too
        return judge(product.form.model.SerializeToString(), product.model.SerializeToString(), samples).quality
    if product.judgment is not None:
        return product.judgment.quality
    return measure_quality(product.model.SerializeToString(), samples)
