"""The page of a report is self-contained and shows every figure."""

from __future__ import annotations

import base64
import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import pyvips

from dae_export.precision import to_float16, to_uint8
from dae_export.report.page import html_page


def decode(png: bytes) -> np.ndarray:
    return pyvips.Image.new_from_buffer(png, "").numpy()


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


def test_every_picture_decodes_and_is_labeled(html, report):
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


def test_a_float32_file_of_pixels_is_compared_with_the_one_of_floats(measured, blur_denoiser, samples):
    pixels = to_uint8(blur_denoiser, "fp32")
    report = measured(blur_denoiser, pixels, samples, name="p", precision="fp32", seconds=0)
    assert report.compares
    assert max(worst.difference for worst in report.judgment.details.worst) <= 1.01
    text = Page(html_page(report)).text
    assert "This file" in text
    assert "fp32, this file" not in text


def test_fp16_on_a_processor_notes_that_its_times_do_not_apply(measured, blur_denoiser, samples):
    half = to_float16(blur_denoiser)
    report = measured(blur_denoiser, half, samples, name="half", precision="fp16", seconds=0)
    text = Page(html_page(dataclasses.replace(report, timings=dataclasses.replace(report.timings, device="cpu")))).text
    assert "meant for CUDA" in text
    assert "the speed of fp32" not in text
    on_cuda = dataclasses.replace(report.timings, device="cuda:0")
    assert "the speed of fp32" in Page(html_page(dataclasses.replace(report, timings=on_cuda))).text
