"""Noise specifications as text."""

import pytest

from dae_train.errors import ConfigError
from dae_train.settings.noise import KINDS, Amount, NoiseStep, forms, parse_noise


def one(kind: str, *amounts: tuple[float, float]) -> tuple[NoiseStep, ...]:
    return (NoiseStep(kind, tuple(Amount(*amount) for amount in amounts)),)


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
    assert parse_noise(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "use one of"),
        ("gauss:0.5", "'gauss' is no kind of noise"),
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
        ("gaussian:0.1++jpeg:5", "'' is no kind of noise"),
    ],
)
def test_wrong_specification_is_explained(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_noise(text)
    assert said.lower() in str(caught.value).lower()
    assert repr(text) in str(caught.value)


def test_forms_name_every_kind() -> None:
    assert all(f"{kind}:" in forms() for kind in KINDS)
