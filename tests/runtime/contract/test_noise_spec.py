"""Noise specifications: the meaning of texts, refused texts, and new kinds."""

import re

import pytest

from dae_runtime.contract import (
    NOISE_KINDS,
    NoiseAmount,
    NoiseParameter,
    NoiseStep,
    gaussian_range,
    noise_forms,
    parse_noise,
    parse_range,
)
from dae_runtime.errors import InputError


def one(kind: str, *amounts: tuple[float, float]) -> tuple[NoiseStep, ...]:
    return (NoiseStep(kind, tuple(NoiseAmount(*amount) for amount in amounts)),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gaussian:0.5", one("gaussian", (0.5, 0.5))),
        ("gaussian:0.02-0.2", one("gaussian", (0.02, 0.2))),
        ("gaussian:25/255", one("gaussian", (25 / 255, 25 / 255))),
        ("gaussian:5/255-50/255", one("gaussian", (5 / 255, 50 / 255))),
        ("gaussian:1e-3-1e-2", one("gaussian", (1e-3, 1e-2))),
        ("poisson:1e+3", one("poisson", (1000, 1000))),
        ("poisson-gaussian:0.01,0.02-0.03", one("poisson-gaussian", (0.01, 0.01), (0.02, 0.03))),
        ("salt-pepper:.05", one("salt-pepper", (0.05, 0.05))),
        ("speckle:0.1", one("speckle", (0.1, 0.1))),
        ("jpeg:30-90", one("jpeg", (30, 90))),
        (" gaussian:0.1 + jpeg:50 ", one("gaussian", (0.1, 0.1)) + one("jpeg", (50, 50))),
        ("none", ()),
    ],
)
def test_specification_means(text: str, expected: tuple[NoiseStep, ...]) -> None:
    parsed = parse_noise(text)
    assert parsed.recipes == (expected,)
    assert str(parsed) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "use one of"),
        ("gauss:0.5", "'gauss' is not a kind of noise"),
        ("gaussian", "expected gaussian:S"),
        ("gaussian:", "expected gaussian:S"),
        ("gaussian:0.1,0.2", "expected gaussian:S"),
        ("poisson-gaussian:0.1", "expected poisson-gaussian:GAIN,SIGMA"),
        ("gaussian:x", "S must be a number"),
        ("gaussian:-0.1", "S must be a number"),
        ("gaussian:nan", "S must be a number"),
        ("gaussian:0.2-0.1", "Write 0.1-0.2"),
        ("gaussian:1/0", "divides by zero"),
        ("poisson:0", "PEAK must be above 0"),
        ("salt-pepper:1.5", "P must be from 0 up to 1"),
        ("jpeg:0", "QUALITY must be from 1 up to 100"),
        ("jpeg:101", "received 101"),
        ("gaussian:0.1++jpeg:5", "'' is not a kind of noise"),
    ],
)
def test_wrong_specification_is_explained(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_noise(text)
    assert said.lower() in str(caught.value).lower()
    assert repr(text) in str(caught.value)


def test_recipes_are_joined_by_or() -> None:
    mixed = parse_noise("gaussian:0-60/255 or poisson:30+jpeg:50  or jpeg:80")
    assert mixed.recipes == (
        one("gaussian", (0, 60 / 255)),
        one("poisson", (30, 30)) + one("jpeg", (50, 50)),
        one("jpeg", (80, 80)),
    )
    assert gaussian_range(str(mixed)) is None
    with pytest.raises(InputError, match="'none' is not a kind of noise"):
        parse_noise("gaussian:0.1 or none")


def test_forms_name_every_kind() -> None:
    assert [re.split(r"[:\[]", form)[0] for form in noise_forms().split(", ")] == [*NOISE_KINDS, "fit", "none"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("gaussian:0.1", (0.1, 0.1)),
        ("gaussian:0.02-0.2", (0.02, 0.2)),
        ("gaussian:40/255", (40 / 255, 40 / 255)),
        ("gaussian:10/255-50/255", (10 / 255, 50 / 255)),
        (" gaussian:1e-2-.5 ", (0.01, 0.5)),
        ("gaussian:0.2-0.1", None),
        ("gaussian:1/0", None),
        ("gaussian:0.1+jpeg:50", None),
        ("poisson:30", None),
        ("poisson-gaussian:0.01,0.02", None),
        ("gaussian:0.1+gaussian:0.2", None),
        ("none", None),
        ("custom", None),
        ("unknown", None),
        ("", None),
    ],
)
def test_the_range_of_a_specification(spec: str, expected: tuple[float, float] | None) -> None:
    assert gaussian_range(spec) == expected


def test_a_range_of_numbers() -> None:
    assert parse_range("0.7-14/10", "x") == (0.7, 1.4)
    assert parse_range("2-1", "x") == (2, 1)  # whoever reads a range judges it
    assert parse_range("0.7", "x") is parse_range("photos", "x") is None
    with pytest.raises(InputError, match="'x': '1/0' divides by zero"):
        parse_range("1/0-2", "x")


def test_a_new_kind_is_one_entry_and_its_amounts_may_have_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = NoiseAmount(100, 6400)
    monkeypatch.setitem(NOISE_KINDS, "camera", (NoiseParameter("ISO", 50, 1e5, default=usual),))
    monkeypatch.setitem(NOISE_KINDS, "film", (NoiseParameter("G", 0, 1), NoiseParameter("A", 0, 1, default=usual)))
    assert parse_noise("camera+jpeg:50").recipes == ((NoiseStep("camera", (usual,)), *one("jpeg", (50, 50))),)
    assert parse_noise("camera:800").recipes == (one("camera", (800, 800)),)
    assert parse_noise("camera:100-800").recipes == (one("camera", (100, 800)),)
    assert parse_noise("film:0.5").recipes == ((NoiseStep("film", (NoiseAmount(0.5, 0.5), usual)),),)
    assert "jpeg:QUALITY, camera[:ISO], film:G[,A], fit:FOLDER, none" in noise_forms()
    for text, expected in (("camera:1,2", "camera[:ISO]"), ("film", "film:G[,A]"), ("camera:1", "ISO must be from 50")):
        with pytest.raises(InputError) as caught:
            parse_noise(text)
        assert expected in str(caught.value)
