"""The strategies of the three precisions: choice, requirements, and a single judgment of the written model."""

from __future__ import annotations

import ast
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dae_export
from dae_export import ExportOptions
from dae_export.errors import CalibrationError
from dae_export.measure import quality
from dae_export.product import Strategy, choose_strategy, make_product
from dae_export.product.strategies import Float16, Float32, Int8
from dae_export.source import KerasModel, Network, read_network

untrained = partial(ExportOptions, min_psnr_gain=-100.0)
OPTIONS = {
    "fp32": untrained(rewrite=False),
    "fp16": untrained(rewrite=False, dtype="fp16"),
    "int8": untrained(rewrite=False, quantize=True, calibration_method="minmax", max_psnr_drop=5.0, max_color_shift=5.0),
}


@pytest.fixture(scope="module")
def network(make_v2) -> Network:
    return read_network(KerasModel(make_v2(filters=(4, 4, 8)), "test"), 18)


def test_the_options_choose_one():
    chosen: dict[str, Strategy] = {name: choose_strategy(options) for name, options in OPTIONS.items()}
    assert [type(strategy) for strategy in chosen.values()] == [Float32, Float16, Int8]
    assert all(strategy.name == name for name, strategy in chosen.items())
    assert [strategy.needs_samples is None for strategy in chosen.values()] == [True, False, False]


def test_nobody_else_asks():
    """`quantize` and `dtype` are read where the options are checked, and `options.precision` where a class is chosen."""
    asked = []
    for path in Path(dae_export.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                *("options.quantize", "options.dtype", "options.precision"),
                *("self.options.quantize", "self.options.dtype", "self.options.precision"),
            ):
                asked.append((path.name, ast.unparse(node)))
    assert asked == [("strategies.py", "options.precision")]


@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_without_samples_it_says_what_it_needs_them_for(network, name):
    strategy = choose_strategy(OPTIONS[name])
    with pytest.raises(CalibrationError, match=f"{strategy.needs_samples}. Give them with --calibration-data."):
        strategy.build(network, None)


@pytest.mark.parametrize(("name", "passes"), [("fp32", 1), ("fp16", 2), ("int8", 2)])
def test_a_report_needs_no_further_inference(network, samples, monkeypatch, name, passes):
    """Each of the two models runs once on each test image, also with a report; float32 is compared with itself."""

    def runs(options: ExportOptions) -> tuple[int, Any]:
        counted.clear()
        product = make_product(choose_strategy(options), network, samples, options)
        return sum(counted), product

    def counting(session: Any, noisy: np.ndarray) -> np.ndarray:
        counted.append(len(noisy))
        return run_session(session, noisy)

    counted: list[int] = []
    run_session = quality.run_session
    monkeypatch.setattr(quality, "run_session", counting)
    plain, shown = (runs(dataclasses.replace(OPTIONS[name], report=report)) for report in (None, "page.html"))
    assert plain[0] == shown[0] == passes * samples.test.count
    assert not plain[1].written.details.shown
    assert shown[1].written.details.shown
    assert plain[1].quality == shown[1].quality
    assert (plain[1].judgment is None) == (plain[1].float32 is plain[1].model) == (name == "fp32")


def test_without_samples_a_report_shows_made_up_pictures(network):
    options = dataclasses.replace(OPTIONS["fp32"], report="page.html")
    product = make_product(choose_strategy(options), network, None, options)
    assert product.quality is None
    assert product.written.details.source == "synthetic images"
    assert make_product(choose_strategy(options), network, None, OPTIONS["fp32"]).written is None
