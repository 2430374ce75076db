"""The strategies of an export, one for each precision."""

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
from ..options import AUTO, STAGES, ExportOptions
from ..precision import IntegerWeights, Ranges, calibrate, quantize, quantize_within, round_weights, to_float16
from ..source import Network
from .build import Product, Strategy
from .model_file import first_image
from .variants import choose_float, choose_integer

COUNTING_SIDE_PX = 64
"""Approximate image side for counting MACs, constant per pixel."""
CANDIDATES = ("minmax", "percentile", "percentile-99.9")
"""Calibration methods that `auto` compares. A narrower range rounds weak noise finer, and clips the strongest edges."""

logger = logging.getLogger(__name__)
_stage = logging.getLogger(STAGES).info


def choose_strategy(options: ExportOptions) -> Strategy:
    """Return the strategy for the requested precision."""
    known: dict[str, Callable[[ExportOptions], Strategy]] = {"fp32": Float32, "fp16": Float16, "int8": Int8}
    return known[options.precision](options)


@dataclass(frozen=True)
class _Base:
    """Common parts of the strategies."""

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


class Float32(_Base):
    """Float32 precision."""

    name = "fp32"
    suffix = ""

    def build(self, network: Network, samples: Samples | None) -> Product:
        """Build the fastest form on this machine."""
        form = choose_float(network, self.options.atol, self.options.rewrite)
        return Product(form.model, self.name, form, float32=form.model)


class Float16(_Base):
    """Half precision, for CUDA."""

    name = "fp16"
    suffix = "-fp16"
    needs_samples = "FP16 needs noisy images for the quality gates"

    def build(self, network: Network, samples: Samples | None) -> Product:
        """Build the canonical form: CUDA has fast transposed convolutions, and CPU times do not apply to it."""
        samples = self.required(samples)
        form = choose_float(network, self.options.atol, rewrite=False)
        model = to_float16(form.model)
        details = self.options.report is not None
        _stage("measuring what FP16 loses ...")
        judgment = judge(form.model.SerializeToString(), model.SerializeToString(), samples, details)
        gates = self.loss_gates(judgment)
        problem = failed_gates(gates)
        if problem is not None:
            raise GateError(f"FP16 {problem}. Export fp32, or increase the limit.")
        return Product(model, self.name, form, form.model, gates, judgment)


class Int8(_Base):
    """INT8 precision, with float layers if the gates require."""

    name = "int8"
    suffix = "-int8"
    needs_samples = "INT8 needs noisy images for calibration"

    def build(self, network: Network, samples: Samples | None) -> Product:
        """Build the form with the fastest INT8 version on this machine, and measure its speedup."""
        samples, options = self.required(samples), self.options
        form = choose_integer(network, first_image(samples.calibration), options.atol, options.rewrite)
        _stage("rounding the weights, and measuring the values that they meet in %d images ...", samples.calibration.count)
        weights = round_weights(form.model, samples.calibration, network.images.alignment_px)
        ranges = self._ranges(form.model, samples, weights)
        macs = count_macs(network.model, *network.images.size_near(COUNTING_SIDE_PX))
        details = options.report is not None
        _stage("measuring what INT8 loses ...")
        quantized = quantize_within(form.model, ranges, weights, samples, self.loss_gates, macs, details)
        float32 = choose_float(network, options.atol, options.rewrite).model
        measured = speedup(float32, quantized.model, tuning_shape(network.images))
        return Product(
            model=quantized.model,
            precision=self.name,
            form=form,
            gates=(*quantized.gates, *self._speed_gates(measured)),
            judgment=quantized.judgment,
            float_layers=quantized.float_layers,
            float_share=quantized.float_share,
            calibration=Calibration(ranges.method, samples.calibration.count, samples.source),
            speedup=measured,
            float32=float32,
        )

    def _ranges(self, model: onnx.ModelProto, samples: Samples, weights: Mapping[str, IntegerWeights]) -> Ranges:
        """Determine the activation ranges; with `auto`, the calibration samples select the method."""
        if self.options.calibration_method != AUTO:
            return calibrate(model, samples.calibration, self.options.calibration_method)
        calibration = replace(samples, test=samples.calibration, clean=None)
        found = [calibrate(model, samples.calibration, method) for method in CANDIDATES]

        def agreement_db(ranges: Ranges) -> float:
            candidate = quantize(model, ranges, (), weights)
            return judge(model.SerializeToString(), candidate.SerializeToString(), calibration).agreement_db

        return max(found, key=agreement_db)

    def _speed_gates(self, measured: float) -> tuple[Gate, ...]:
        if self.options.min_speedup is None:
            if measured < 1:
                logger.warning(
                    "INT8 is SLOWER than float32 on this processor: %.2f times as fast. Its layers may have no fast integer "
                    "kernel (docs/processors.md). Export without --quantize for this processor; --min-speedup 1 makes this an "
                    "error",
                    measured,
                )
            return ()
        gates = (speed_gate(measured, self.options.min_speedup),)
        problem = failed_gates(gates)
        if problem is not None:
            raise GateError(
                f"INT8 {problem}. Export on the target processor, reduce --min-speedup, or export without --quantize."
            )
        return gates
