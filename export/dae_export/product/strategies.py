"""The strategies of an export, one for each precision: what it needs, what it tries, and what the result is held to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import onnx

from dae_runtime.contract import Calibration

from ..errors import CalibrationError, GateError
from ..graph.macs import count_macs
from ..measure.gates import Gate, failed_gates, loss_gates, speed_gate
from ..measure.quality import Judgment, judge
from ..measure.samples import Samples
from ..measure.tune import speedup, tuning_shape
from ..options import AUTO, ExportOptions
from ..precision import IntegerWeights, Ranges, calibrate, quantize, quantize_within, round_weights, to_float16
from ..source import Network
from .build import Product, Strategy
from .model_file import first_image
from .variants import choose_float, choose_integer

COUNTING_SIDE_PX = 64
"""About the side of the image whose MACs are counted: the count per pixel is the same for any."""

logger = logging.getLogger(__name__)


def choose_strategy(options: ExportOptions) -> Strategy:
    """Return the strategy for the precision that is asked for; nothing else asks."""
    known: dict[str, Callable[[ExportOptions], Strategy]] = {"fp32": Float32, "fp16": Float16, "int8": Int8}
    return known[options.precision](options)


@dataclass(frozen=True)
class _Chosen:
    """What all three hold."""

    options: ExportOptions
    name: ClassVar[str]
    suffix: ClassVar[str]
    needs_samples: ClassVar[str | None] = None

    def loss_gates(self, judgment: Judgment) -> tuple[Gate, ...]:
        return loss_gates(judgment, self.options.max_psnr_drop, self.options.max_color_shift)

    def required(self, samples: Samples | None) -> Samples:
        if samples is None:
            raise CalibrationError(f"{self.needs_samples}. Give them with --calibration-data.")
        return samples


class Float32(_Chosen):
    """The network as it is."""

    name = "fp32"
    suffix = ""

    def build(self, network: Network, samples: Samples | None) -> Product:
        """Write the form that is the fastest here."""
        form = choose_float(network, self.options.atol, self.options.rewrite)
        return Product(form.model, self.name, form, float32=form.model)


class Float16(_Chosen):
    """Half precision, for CUDA."""

    name = "fp16"
    suffix = "-fp16"
    needs_samples = "FP16 needs noisy images to be judged on"

    def build(self, network: Network, samples: Samples | None) -> Product:
        """Write the canonical form: CUDA has fast transposed convolutions, and times on a CPU say nothing about it."""
        samples = self.required(samples)
        form = choose_float(network, self.options.atol, rewrite=False)
        model = to_float16(form.model)
        details = self.options.report is not None
        judgment = judge(form.model.SerializeToString(), model.SerializeToString(), samples, details)
        gates = self.loss_gates(judgment)
        problem = failed_gates(gates)
        if problem is not None:
            raise GateError(f"FP16 {problem}. Export fp32, or allow more.")
        return Product(model, self.name, form, form.model, gates, judgment)


class Int8(_Chosen):
    """Integers, as far as the limits allow."""

    name = "int8"
    suffix = "-int8"
    needs_samples = "INT8 needs noisy images to calibrate with"

    def build(self, network: Network, samples: Samples | None) -> Product:
        """Write the form whose integers are the fastest here, and compare its speed with the float32 file."""
        samples, options = self.required(samples), self.options
        form = choose_integer(network, first_image(samples.calibration), options.atol, options.rewrite)
        weights = round_weights(form.model, samples.calibration, network.images.alignment_px)
        ranges = self._ranges(form.model, samples, weights)
        macs = count_macs(network.model, *network.images.size_near(COUNTING_SIDE_PX))
        details = options.report is not None
        quantized = quantize_within(form.model, ranges, weights, samples, self.loss_gates, macs, details)
        float32 = choose_float(network, options.atol, options.rewrite).model
        gained = speedup(float32, quantized.model, tuning_shape(network.images))
        return Product(
            model=quantized.model,
            precision=self.name,
            form=form,
            gates=(*quantized.gates, *self._speed_gates(gained)),
            judgment=quantized.judgment,
            float_layers=quantized.float_layers,
            float_share=quantized.float_share,
            calibration=Calibration(ranges.method, samples.calibration.count, samples.source),
            speedup=gained,
            float32=float32,
        )

    def _ranges(self, model: onnx.ModelProto, samples: Samples, weights: Mapping[str, IntegerWeights]) -> Ranges:
        """Find the ranges of the activations; where the method is open, the calibration samples decide, not the others."""
        if self.options.calibration_method != AUTO:
            return calibrate(model, samples.calibration, self.options.calibration_method)
        seen = replace(samples, test=samples.calibration, clean=None)
        found = [calibrate(model, samples.calibration, method) for method in ("minmax", "percentile")]

        def agreement_db(ranges: Ranges) -> float:
            candidate = quantize(model, ranges, (), weights)
            return judge(model.SerializeToString(), candidate.SerializeToString(), seen).agreement_db

        return max(found, key=agreement_db)

    def _speed_gates(self, gained: float) -> tuple[Gate, ...]:
        if self.options.min_speedup is None:
            if gained < 1:
                logger.warning(
                    "this INT8 file is SLOWER than float32 on this processor: %.2f times as fast. Its layers may have no fast "
                    "integer kernel (docs/processors.md). For this processor export without --quantize; --min-speedup 1 makes "
                    "it an error",
                    gained,
                )
            return ()
        gates = (speed_gate(gained, self.options.min_speedup),)
        problem = failed_gates(gates)
        if problem is not None:
            raise GateError(
                f"INT8 {problem}. Export on the processor that will run the model, ask for less, or export without --quantize."
            )
        return gates
