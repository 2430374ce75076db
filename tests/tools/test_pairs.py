"""Pairs of photographs: the scores of a model, the worst of them, and the scatter of the measured level."""

from __future__ import annotations

import numpy as np
import pytest

from builders import invoke, make_model
from dae_runtime import Denoiser, InputError
from dae_runtime.images import Image, write_image
from dae_runtime.pixels.metrics import psnr_db
from dae_tools.pairs import command, read_pairs, scatter, score_pairs


@pytest.fixture
def folders(tmp_path):
    """Two pairs of smooth pictures in color with noise of 6 and 12 of 255."""
    ramp = np.linspace(60, 190, 96)
    for number, sigma in enumerate((6, 12)):
        clean = np.stack([np.add.outer(ramp, ramp) / 2] * 3, axis=2)
        noisy = clean + np.random.default_rng(number).normal(0, sigma, clean.shape)
        for name, pixels in (("clean", clean), ("noisy", noisy)):
            (tmp_path / name).mkdir(exist_ok=True)
            write_image(tmp_path / name / f"{number}.png", Image(np.rint(pixels).clip(0, 255).astype(np.uint8)))
    return tmp_path / "noisy", tmp_path / "clean"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "told.onnx"
    path.write_bytes(make_model(channels=3, gain=10.0))
    return path


def test_each_pair_is_scored_at_its_advised_level(folders, model):
    with Denoiser(model, "cpu", 1) as denoiser:
        pairs = score_pairs(denoiser, *folders)
        assert [pair.name for pair in pairs] == ["0.png", "1.png"]
        for pair, (_, noisy, clean) in zip(pairs, read_pairs(*folders), strict=True):
            assert pair.level == denoiser.advise(noisy)
            assert pair.scores.denoised_psnr_db == pytest.approx(psnr_db(clean, denoiser.denoise(noisy), 255))
            assert pair.gain_db > 0
        assert {pair.level for pair in score_pairs(denoiser, *folders, sigma=0.0)} == {0.0}
        assert [pair.gain_db for pair in score_pairs(denoiser, *folders, sigma=0.0)] == [0, 0]


def test_the_command_prints_the_mean_and_the_worst(folders, model):
    noisy, clean = folders
    result = invoke(command, "--noisy", noisy, "--clean", clean, "-m", model)
    assert result.exit_code == 0, result.output
    assert "mean of 2: PSNR" in result.output
    gains = {line.split()[-1]: float(line.split("(")[1].split(")")[0]) for line in result.output.splitlines()[:2]}
    worst = min(gains, key=gains.__getitem__)
    assert f"worst: {worst}, {gains[worst]:+.2f} dB" in result.output


def test_the_command_compares_levels(folders):
    noisy, clean = folders
    result = invoke(command, "--noisy", noisy, "--clean", clean, "--levels")
    assert result.exit_code == 0, result.output
    ratio = float(result.output.split("ratio ")[1].split()[0])
    assert ratio == pytest.approx(1, abs=0.25)
    result = invoke(command, "--clean", clean, "--levels")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.output.splitlines()] == ["clean"] + ["white"] * 6 + ["correlated"] * 3 + [
        "mosaic"
    ] * 3


def test_scatter_in_words():
    assert scatter([(2.0, 4.0), (4.0, 4.0), (8.0, 4.0)]).startswith("true   4.0   ratio 1.00 [0.60, 1.80], 0.50 to 2.00;")
    assert scatter([(0.5, 0.0), (1.5, 0.0)]) == "true   0.0   measured  1.00 [0.60, 1.40], at most 1.50"


def test_what_is_missing_is_said(folders, tmp_path):
    assert invoke(command, "--clean", folders[1]).exit_code == 2
    assert invoke(command, "--noisy", folders[0], "--clean", folders[1]).exit_code == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        list(read_pairs(tmp_path / "empty", folders[1]))
