"""The report: its figures are those of the models."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from dae_export.measure import quality
from dae_export.measure.quality import judge
from dae_export.measure.samples import Batches, Samples
from dae_export.precision import calibrate, quantize
from dae_export.report import latency as report_latency
from dae_export.report.latency import measure_latency
from dae_runtime.contract import ImageSpec
from dae_runtime.engine.session import run_session
from dae_runtime.pixels.metrics import psnr_db, ssim
from dae_runtime.system.processor import available_cpus

FREE = ImageSpec(1)


def test_the_quality_is_that_of_the_images(report, images):
    comparison, details = report.judgment, report.judgment.details
    assert (comparison.samples, details.source, details.ssim_samples) == (20, "waves <b>", 20)
    for name in ("noisy", "fp32", "file"):
        assert comparison.psnr_db[name] == pytest.approx(psnr_db(images["clean"], images[name]), abs=0.01)
        each = [ssim(clean, image) for clean, image in zip(images["clean"], images[name], strict=True)]
        assert details.ssim[name] == pytest.approx(np.mean(each), abs=1e-3)
    assert comparison.agreement_db == pytest.approx(psnr_db(images["fp32"], images["file"]), abs=0.2)
    shift = 255 * float(np.mean(images["file"].astype(np.float64) - images["fp32"]))
    assert comparison.color_shift == pytest.approx((shift,), abs=0.02)


def test_the_quality_is_the_one_that_the_gate_judges_in_one_pass(blur_denoiser, samples, monkeypatch):
    model = quantize(blur_denoiser, calibrate(blur_denoiser, samples.calibration))
    contents = blur_denoiser.SerializeToString(), model.SerializeToString()
    runs: list[int] = []

    def counted(session: Any, noisy: np.ndarray) -> np.ndarray:
        runs.append(len(noisy))
        return run_session(session, noisy)

    monkeypatch.setattr(quality, "run_session", counted)
    with_details = judge(*contents, samples, details=True)
    assert sum(runs) == 2 * 20  # each model sees each image once
    plain = judge(*contents, samples)
    assert dataclasses.replace(plain, details=with_details.details) == with_details
    assert not plain.details.shown
    runs.clear()
    assert judge(contents[0], contents[0], samples).agreement_db == 100
    assert sum(runs) == 20


def test_the_worst_pixels_are_the_worst(report, images):
    difference = np.abs(images["file"] - images["fp32"])
    by_image = difference.max(axis=(1, 2, 3))
    found = [worst.difference / 255 for worst in report.judgment.details.worst]
    np.testing.assert_allclose(found, np.sort(by_image)[::-1][:3], atol=1e-5)
    for worst in report.judgment.details.worst:
        assert difference[worst.image, worst.row, worst.column, 0] == pytest.approx(worst.difference / 255, abs=1e-5)
        for name, (value,) in worst.values.items():
            assert value == pytest.approx(255 * images[name][worst.image, worst.row, worst.column, 0], abs=1e-2)
    assert len({worst.image for worst in report.judgment.details.worst}) == 3


def test_the_color_shift_is_per_channel(pictures):
    from onnx import TensorProto, helper, numpy_helper

    def shifted(amounts: list[float]) -> bytes:
        edges = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", "H", "W", 3]) for n in ("noisy", "denoised")]
        amount = numpy_helper.from_array(np.array(amounts, np.float32), "amount")
        graph = helper.make_graph(
            [helper.make_node("Add", ["noisy", "amount"], ["denoised"])], "g", *map(list, zip(edges)), [amount]
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()

    noisy = pictures(2, 16, 3)[0] * 0.5 + 0.25
    batches = Batches(2, lambda: iter([noisy]))
    waves = Samples(batches, batches, None, "waves")
    comparison = judge(shifted([0, 0, 0]), shifted([0.01, 0, -0.02]), waves, details=True)
    np.testing.assert_allclose(comparison.color_shift, [2.55, 0, -5.1], atol=1e-3)
    assert comparison.agreement_db == pytest.approx(-10 * math.log10((0.01**2 + 0.02**2) / 3), abs=0.01)
    assert comparison.psnr_db == comparison.details.ssim == {}


def test_work_and_size(report, blur_denoiser, int8):
    assert report.size_bytes == len(int8.SerializeToString())
    assert report.fp32_size_bytes == len(blur_denoiser.SerializeToString())
    assert sum(report.node_counts.values()) == len(int8.graph.node)
    assert report.fp32_nodes == len(blur_denoiser.graph.node)
    work = report.work
    assert work.fp32_macs_per_pixel == work.macs_per_pixel == 2 * 8 * 9
    assert work.integer_share == 0.5
    assert [(layer.name, layer.share) for layer in work.float_layers] == [("conv_2", 0.5)]


def test_every_shape_is_timed_on_one_thread_and_on_all(report):
    threads = sorted({1, available_cpus()})
    timings = report.timings
    assert timings.device == "cpu"
    cases = {(row.images, row.height_px, row.width_px, row.channels, row.threads) for row in timings.rows}
    possible = {(*shape, 1, n) for shape in report_latency.FREE_SHAPES for n in threads}
    assert cases <= possible
    assert timings.skipped == len(possible) - len(cases)
    assert {(256, 28, 28, 1, n) for n in threads} <= cases
    assert all(row.fp32_ms > 0 and row.file_ms > 0 and row.ratio == row.file_ms / row.fp32_ms for row in timings.rows)


def test_without_time_only_the_smallest_input_is_timed(blur_denoiser):
    threads = len({1, available_cpus()})
    timings = measure_latency(blur_denoiser.SerializeToString(), None, FREE, "cpu", 0)
    assert [row.images for row in timings.rows] == [256] * threads
    assert timings.skipped == 2 * threads
    assert all(row.ratio == 1 for row in timings.rows)


def test_sizes_are_rounded_up_to_the_alignment(monkeypatch, blur_denoiser):
    monkeypatch.setattr(report_latency, "FREE_SHAPES", ((2, 28, 30),))
    timings = measure_latency(blur_denoiser.SerializeToString(), None, ImageSpec(1, 8), "cpu", 0)
    assert {(row.height_px, row.width_px) for row in timings.rows} == {(32, 32)}


def test_models_of_fixed_size_are_timed_on_that_size(blur_denoiser):
    timings = measure_latency(blur_denoiser.SerializeToString(), None, ImageSpec(1, fixed_size=(12, 20)), "cpu", 1)
    assert {(row.images, row.height_px, row.width_px) for row in timings.rows} == {(1, 12, 20), (256, 12, 20)}


def test_the_figures_are_json_without_the_pictures(report):
    document = report.to_json()
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text) == document
    assert len(text) < 8000
    assert document["work"]["float_layers"] == [{"name": "conv_2", "share": 0.5}]
    assert document["comparison"]["psnr_db"]["file"] == pytest.approx(report.judgment.psnr_db["file"], rel=1e-4)
    assert [row["threads"] for row in document["latency"]["rows"]] == [row.threads for row in report.timings.rows]
    assert document["comparison"]["worst"][0]["row"] == report.judgment.details.worst[0].row
    assert "pictures" not in text
    assert "crop" not in text
    assert [*document["comparison"]] == [
        *("samples", "source", "psnr_db", "ssim", "ssim_samples", "agreement_db", "color_shift", "worst"),
    ]
    assert [*document["comparison"]["worst"][0]] == ["image", "row", "column", "difference", "values"]
    assert [[*gate] for gate in document["gates"]] == [["name", "measured", "limit", "at_least"]] * 2


def test_equal_models_have_a_finite_agreement(fp32_report):
    assert fp32_report.judgment.agreement_db == 100
    json.dumps(fp32_report.to_json(), allow_nan=False)
