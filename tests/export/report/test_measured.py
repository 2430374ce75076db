"""The report: its figures are those of the models, and its page stands alone."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import onnx
import pytest
import pyvips

from dae_export.measure import quality
from dae_export.measure.gates import Gate
from dae_export.measure.quality import judge
from dae_export.measure.samples import Batches, Samples, made_up_samples
from dae_export.precision import calibrate, quantize, to_float16, to_uint8
from dae_export.report import ExportReport, measure_report
from dae_export.report import latency as report_latency
from dae_export.report.latency import measure_latency
from dae_export.report.page import html_page
from dae_export.report.pictures import STRONGEST, draw
from dae_runtime.contract import ImageSpec
from dae_runtime.engine.session import run_session
from dae_runtime.pixels.metrics import psnr_db, ssim
from dae_runtime.system.processor import available_cpus

FREE = ImageSpec(1)
GATES = (Gate("PSNR drop in dB", 0.02, 0.1), Gate("Speedup", 1.1, 1.2, at_least=True))


@pytest.fixture(scope="module")
def samples(pictures) -> Samples:
    (noisy, _), (test_noisy, test_clean) = pictures(8, 32), pictures(20, 28, seed=1)

    def batches(images: np.ndarray) -> Batches:
        return Batches(len(images), lambda: (images[i : i + 8] for i in range(0, len(images), 8)))

    return Samples(batches(noisy), batches(test_noisy), batches(test_clean), "waves <b>")


@pytest.fixture(scope="module")
def int8(blur_denoiser, samples) -> onnx.ModelProto:
    model = quantize(blur_denoiser, calibrate(blur_denoiser, samples.calibration), ["conv_2", "transpose_2"])
    return to_uint8(model, "int8")


def measured(fp32: onnx.ModelProto, written: onnx.ModelProto, samples: Samples, **options: Any) -> ExportReport:
    judgment = judge(fp32.SerializeToString(), written.SerializeToString(), samples, details=True)
    return measure_report(fp32, written, judgment, FREE, **options)


@pytest.fixture(scope="module")
def report(blur_denoiser, int8, samples) -> ExportReport:
    return measured(blur_denoiser, int8, samples, name="A & <B>", precision="int8", gates=GATES, seconds=1)


@pytest.fixture(scope="module")
def fp32_report(blur_denoiser) -> ExportReport:
    """The report of the float32 model itself, without any samples."""
    return measured(blur_denoiser, blur_denoiser, made_up_samples(FREE), name="plain", precision="fp32", seconds=0)


# --- figures -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images(blur_denoiser, int8, samples, run_onnx) -> dict[str, np.ndarray]:
    """What the report is about, computed without it."""
    noisy, clean = (np.concatenate(list(part)) for part in (samples.test, samples.clean or ()))
    eight = run_onnx(int8, np.rint(noisy * 255).astype(np.uint8)) / np.float32(255)
    return {"noisy": noisy, "fp32": np.clip(run_onnx(blur_denoiser, noisy), 0, 1), "file": eight, "clean": clean}


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


# --- latency -------------------------------------------------------------------------------------------------------------


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


# --- JSON ----------------------------------------------------------------------------------------------------------------


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


# --- pictures --------------------------------------------------------------------------------------------------------------


def decode(png: bytes) -> np.ndarray:
    return pyvips.Image.new_from_buffer(png, "").numpy()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_pictures_are_the_images(channels):
    rng = np.random.default_rng(0)
    stack = {name: rng.random((1, 9, 14, channels)).astype(np.float32) for name in ("noisy", "clean")}
    stack["fp32"] = np.full((1, 9, 14, channels), 0.5, np.float32)
    stack["file"] = stack["fp32"].copy()
    stack["file"][0, 4, 5] += 0.1
    picture = draw(stack)
    assert (picture.height_px, picture.width_px) == (9, 14)
    for name in ("noisy", "clean", "file"):
        expected = np.rint(stack[name][0] * 255)
        np.testing.assert_array_equal(decode(picture.png[name]).reshape(expected.shape), expected)
    difference = decode(picture.png["difference"]).reshape(9, 14, channels)
    assert picture.amplified == 4
    assert set(np.unique(difference)) == {128, 230}
    assert (difference[4, 5] == 230).all()


def test_equal_images_have_a_gray_difference():
    same = np.zeros((1, 4, 4, 1), np.float32)
    picture = draw({"noisy": same, "fp32": same, "file": same})
    assert picture.amplified == STRONGEST
    assert set(np.unique(decode(picture.png["difference"]))) == {128}


def test_a_sheet_holds_every_image_once():
    images = np.arange(1, 6, dtype=np.float32)[:, None, None, None] / 10 * np.ones((5, 4, 3, 1), np.float32)
    picture = draw({"noisy": images, "fp32": images, "file": images})
    values, counts = np.unique(decode(picture.png["noisy"]), return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert all(found[round(25.5 * n)] >= 12 for n in range(1, 6))


# --- the page ----------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Checks that elements are closed in order, and collects pictures, text and references."""

    VOID = ("meta", "img", "br", "hr", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.kinds: set[str] = set()
        self.images: list[dict[str, str]] = []
        self.references: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        assert len(values) == len(attributes), tag
        self.kinds.add(tag)
        self.references += [value for name, value in attributes if name in ("src", "href", "srcset", "action", "data")]
        if tag == "img":
            self.images.append(values)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).replace("\xa0", " ").split())


@pytest.fixture(scope="module")
def html(report) -> str:
    return html_page(report)


def test_the_page_stands_alone(html):
    parsed = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert not parsed.kinds & {"script", "link", "iframe", "object"}
    assert all(reference.startswith("data:image/png;base64,") for reference in parsed.references)
    assert not re.search(r"https?:|url\(|@import|//[a-z]", re.sub(r"base64,[^\"]*", "", html))
    assert 'name="viewport"' in html
    assert "prefers-color-scheme: dark" in html


def test_every_picture_decodes_and_says_what_it_shows(html, report):
    images = Page(html).images
    details = report.judgment.details
    assert len(images) == 5 * (len(details.shown) + len(details.worst))
    assert len({image["alt"] for image in images}) == len(images)
    for image in images:
        assert image["alt"]
        pixels = decode(base64.b64decode(image["src"].partition(",")[2], validate=True))
        assert pixels.shape[:2] == (int(image["height"]), int(image["width"]))


def test_every_figure_is_on_the_page(html, report):
    text = Page(html).text
    comparison, details = report.judgment, report.judgment.details
    figures = [f"{comparison.psnr_db[name]:.2f}" for name in ("noisy", "fp32", "file")]
    figures += [f"{details.ssim[name]:.4f}" for name in ("noisy", "fp32", "file")]
    figures += [f"{comparison.agreement_db:.2f} dB", "144 MAC per pixel", "50.0% in integers", "conv_2"]
    figures += [f"{row.ratio:.2f}" for row in report.timings.rows]
    figures += [f"{count} {kind}" for kind, count in report.node_counts.items()]
    figures += [f"row {worst.row}, column {worst.column}: {worst.difference:.1f}" for worst in details.worst]
    figures += [
        "PSNR drop in dB: 0.02 (at most 0.1)",
        "Speedup: 1.1 (at least 1.2)",
        report.machine,
        "uint8 pixels in and out",
    ]
    for figure in figures:
        assert figure in text, figure


def test_names_are_text_not_markup(html):
    assert "A & <B>" in Page(html).text
    assert "waves <b>" in Page(html).text


def test_a_float32_file_is_compared_with_nothing(fp32_report):
    parsed = Page(html_page(fp32_report))
    assert len(parsed.images) == 2  # noisy and denoised: there are no clean images
    assert "Ratio" not in parsed.text
    assert "Worst pixels" not in parsed.text
    assert "without clean references" in parsed.text


def test_a_float32_file_of_pixels_is_compared_with_the_one_of_floats(blur_denoiser, samples):
    pixels = to_uint8(blur_denoiser, "fp32")
    report = measured(blur_denoiser, pixels, samples, name="p", precision="fp32", seconds=0)
    assert report.compares
    assert max(worst.difference for worst in report.judgment.details.worst) <= 1.01
    text = Page(html_page(report)).text
    assert "This file" in text
    assert "fp32, this file" not in text


def test_fp16_on_a_processor_says_that_its_times_are_no_measure(blur_denoiser, samples):
    half = to_float16(blur_denoiser)
    report = measured(blur_denoiser, half, samples, name="half", precision="fp16", seconds=0)
    text = Page(html_page(dataclasses.replace(report, timings=dataclasses.replace(report.timings, device="cpu")))).text
    assert "made for CUDA" in text
    assert "the speed of fp32" not in text
    on_cuda = dataclasses.replace(report.timings, device="cuda:0")
    assert "the speed of fp32" in Page(html_page(dataclasses.replace(report, timings=on_cuda))).text
