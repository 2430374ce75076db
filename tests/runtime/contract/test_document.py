from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dae_runtime.contract import SIGMA_FORMS, Calibration, Contract, Golden, Parity, Quality, SigmaInput, from_json, to_json
from dae_runtime.contract.document import LARGEST_SIDE_PX, LARGEST_WINDOW_PX
from dae_runtime.errors import ModelError

PLAIN = Contract(
    name="tiny",
    preset="v2",
    channels=1,
    io_dtype="uint8",
    height_px=None,
    width_px=None,
    alignment_px=4,
    halo_px=17,
    noise="gaussian:0.1",
    precision="int8",
    parity=Parity(1e-7, 1e-5, ((1, 8, 8, 1), (3, 12, 8, 1))),
    golden=Golden((1, 2, 2, 1), b"\x00\x01\x02\x03", b"\x03\x02\x01\x00", 1.0),
    calibration=Calibration("minmax", 64, "the run's samples"),
    quality=Quality(64, 20.0, 28.5, 28.4),
    tools={"onnx": "1.0"},
    report={"nodes": {"Conv": 3}},
)
QUALITY = {"samples": 64, "noisy_psnr_db": 20.0, "fp32_psnr_db": 28.5, "psnr_db": 28.4}


def test_a_contract_survives_json():
    assert from_json(to_json(PLAIN)) == PLAIN
    fixed = dataclasses.replace(PLAIN, height_px=28, width_px=32, halo_px=None, quality=None)
    assert from_json(to_json(fixed)) == fixed
    assert fixed.fixed_size == (28, 32)
    assert PLAIN.fixed_size is None
    golden = dataclasses.replace(PLAIN.golden, sigma=0.1)
    told = dataclasses.replace(PLAIN, sigma=SigmaInput(0.0, 55 / 255), golden=golden)
    assert from_json(to_json(told)) == told


def test_a_contract_for_other_programs_has_a_version_of_its_own():
    """Older readers refuse it; every other file stays one that they read."""
    golden = dataclasses.replace(PLAIN.golden, sigma=0.1)
    told = dataclasses.replace(PLAIN, sigma=SigmaInput(0.0, 0.2), golden=golden)
    document = json.loads(to_json(told))
    assert document["version"] == 3
    assert "layout" not in document
    assert "form" not in document["sigma"]
    for form in SIGMA_FORMS:
        other = dataclasses.replace(told, layout="NCHW", sigma=SigmaInput(0.0, 0.2, form))
        document = json.loads(to_json(other, indent=2))
        assert (document["version"], document["layout"], document["sigma"]["form"]) == (4, "NCHW", form)
        assert from_json(json.dumps(document)) == other


def test_a_file_for_the_runtime_takes_the_level_as_a_value_only():
    golden = dataclasses.replace(PLAIN.golden, sigma=0.1)
    with pytest.raises(ModelError, match=r"sigma\.form"):
        dataclasses.replace(PLAIN, sigma=SigmaInput(0.0, 0.2, "map"), golden=golden)
    with pytest.raises(ModelError, match=r"sigma\.form"):
        SigmaInput(0.0, 0.2, "scalar")


def test_a_contract_of_an_older_version_takes_no_sigma():
    document = json.loads(to_json(PLAIN)) | {"version": 2}
    del document["sigma"], document["golden"]["sigma"]
    assert from_json(json.dumps(document)) == PLAIN


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"version": 5}, "version 5"),
        ({"layout": "CHWN"}, "layout"),
        ({"version": None}, "version None"),
        ({"format": "other"}, "dae-model"),
        ({"surprise": 1}, "surprise"),
        ({"channels": 2}, "channels"),
        ({"channels": True}, "channels"),
        ({"channels": "1"}, "channels"),
        ({"alignment_px": 0}, "alignment_px"),
        ({"alignment_px": 2.5}, "alignment_px"),
        ({"alignment_px": 2**63}, "alignment_px"),
        ({"halo_px": 10**9}, "halo_px"),
        ({"height_px": 10**9, "width_px": 8}, "height_px"),
        ({"alignment_px": None}, "damaged"),
        ({"halo_px": -1}, "halo_px"),
        ({"io_dtype": "float64"}, "io_dtype"),
        ({"precision": "int4"}, "precision"),
        ({"precision": "fp32"}, "calibration"),
        ({"calibration": None}, "calibration"),
        ({"height_px": 28}, "width_px"),
        ({"height_px": 30, "width_px": 28}, "height_px"),
        ({"name": 3}, "name"),
        ({"parity": None}, "parity"),
        ({"parity": {"max_abs_error": 2, "tolerance": 1, "shapes": []}}, "max_abs_error"),
        ({"golden": {}}, "damaged"),
        ({"golden": {"shape": [1, 2, 2, 1], "noisy": "!!", "denoised": "", "max_abs_error": 1}}, "damaged"),
        ({"golden": {"shape": [1, 9, 9, 1], "noisy": "AAAA", "denoised": "AAAA", "max_abs_error": 1}}, "golden.noisy"),
        ({"sigma": {"low": 0.0, "high": 0.2}}, "golden.sigma"),
        ({"sigma": {"low": 0.2, "high": 0.2}}, "sigma"),
        ({"sigma": {"low": 0.0, "high": 55}}, "sigma"),
        ({"sigma": {"low": 0.0}}, "damaged"),
        ({"sigma": 0.1}, "sigma"),
        ({"report": "abc"}, "report"),
        ({"report": [1]}, "report"),
        ({"report": None}, "report"),
        ({"tools": [1]}, "tools"),
        ({"tools": None}, "tools"),
        ({"quality": {**QUALITY, "psnr_db": True}}, "quality.psnr_db"),
        ({"quality": {**QUALITY, "noisy_psnr_db": "20"}}, "quality.noisy_psnr_db"),
        ({"quality": {**QUALITY, "fp32_psnr_db": 10**400}}, "quality.fp32_psnr_db"),
        ({"quality": {**QUALITY, "samples": True}}, "quality.samples"),
        ({"parity": {"max_abs_error": False, "tolerance": 1, "shapes": [[1, 8, 8, 1]]}}, "parity.max_abs_error"),
        ({"parity": {"max_abs_error": 0, "tolerance": True, "shapes": [[1, 8, 8, 1]]}}, "parity.tolerance"),
        (
            {"golden": {"shape": [1, 2, 2, 1], "noisy": "AAAAAA==", "denoised": "AAAAAA==", "max_abs_error": True}},
            "golden.max",
        ),
        ({"golden": {"shape": 4, "noisy": "", "denoised": "", "max_abs_error": 1}}, "damaged"),
    ],
)
def test_an_invalid_contract_is_refused_by_name(changes, word):
    with pytest.raises(ModelError, match=word) as caught:
        from_json(json.dumps({**json.loads(to_json(PLAIN)), **changes}), "some.onnx")
    assert "some.onnx" in str(caught.value)


OPTIONAL = ("layout", "calibration", "quality", "pair_limit", "any_size", "sigma", "tools", "report")


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Contract) if field.name not in OPTIONAL])
def test_a_missing_field_is_refused(name):
    document = json.loads(to_json(PLAIN))
    del document[name]
    with pytest.raises(ModelError, match="damaged"):
        from_json(json.dumps(document))


@given(height=st.integers(1, LARGEST_SIDE_PX), width=st.integers(1, LARGEST_SIDE_PX))
@example(LARGEST_SIDE_PX, LARGEST_SIDE_PX)
@example(4096, 4096)
@example(4096, 4097)
def test_a_window_is_bounded_by_its_pixels(height, width):
    document = json.dumps({**json.loads(to_json(PLAIN)), "alignment_px": 1, "height_px": height, "width_px": width})
    if height * width <= LARGEST_WINDOW_PX:
        assert from_json(document).fixed_size == (height, width)
    else:
        with pytest.raises(ModelError, match="height_px"):
            from_json(document)
