"""A report of an INT8 blur, one of a float32 file, and the images that they are about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from dae_export.measure.gates import Gate
from dae_export.measure.quality import judge
from dae_export.measure.samples import Batches, Samples, synthetic_samples
from dae_export.precision import calibrate, quantize, to_uint8
from dae_export.report import ExportReport, measure_report
from dae_runtime.contract import ImageSpec

FREE = ImageSpec(1)
GATES = (Gate("PSNR drop in dB", 0.02, 0.1), Gate("Speedup", 1.1, 1.2, at_least=True))


@pytest.fixture(scope="package")
def samples(pictures) -> Samples:
    (noisy, _), (test_noisy, test_clean) = pictures(8, 32), pictures(20, 28, seed=1)

    def batches(images: np.ndarray) -> Batches:
        return Batches(len(images), lambda: (images[i : i + 8] for i in range(0, len(images), 8)))

    return Samples(batches(noisy), batches(test_noisy), batches(test_clean), "waves <b>")


@pytest.fixture(scope="package")
def int8(blur_denoiser, samples) -> onnx.ModelProto:
    model = quantize(blur_denoiser, calibrate(blur_denoiser, samples.calibration), ["conv_2", "transpose_2"])
    return to_uint8(model, "int8")


@pytest.fixture(scope="package")
def measured() -> Callable[..., ExportReport]:
    """Judge a file against the float32 model with all details, and measure the report of it."""

    def measure(fp32: onnx.ModelProto, written: onnx.ModelProto, samples: Samples, **options: Any) -> ExportReport:
        judgment = judge(fp32.SerializeToString(), written.SerializeToString(), samples, details=True)
        return measure_report(fp32, written, judgment, FREE, **options)

    return measure


@pytest.fixture(scope="package")
def report(measured, blur_denoiser, int8, samples) -> ExportReport:
    return measured(blur_denoiser, int8, samples, name="A & <B>", precision="int8", gates=GATES, seconds=1)


@pytest.fixture(scope="package")
def fp32_report(measured, blur_denoiser) -> ExportReport:
    """The report of the float32 model itself, without any samples."""
    return measured(blur_denoiser, blur_denoiser, synthetic_samples(FREE), name="plain", precision="fp32", seconds=0)


@pytest.fixture(scope="package")
def images(blur_denoiser, int8, samples, run_onnx) -> dict[str, np.ndarray]:
    """What the report is about, computed without it."""
    noisy, clean = (np.concatenate(list(part)) for part in (samples.test, samples.clean or ()))
    eight = run_onnx(int8, np.rint(noisy * 255).astype(np.uint8)) / np.float32(255)
    return {"noisy": noisy, "fp32": np.clip(run_onnx(blur_denoiser, noisy), 0, 1), "file": eight, "clean": clean}
