"""Pairs of photographs: the scores of a model, the worst of them, and the scatter of the measured level."""

from __future__ import annotations

import re

import numpy as np
import pytest

from builders import invoke, make_model
from dae_runtime import Denoiser, InputError
from dae_runtime.pixels.advice import shared_level
from dae_runtime.pixels.metrics import psnr_db
from dae_tools.pairs.command import command
from dae_tools.pairs.levels import measured_and_true, scatter
from dae_tools.pairs.scores import middle, read_pairs, score_pairs, sweep_levels


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


def test_a_brighter_shot_has_no_more_noise():
    clean = np.full((64, 64, 3), 100, np.uint8)
    noisy = (clean + np.random.default_rng(0).normal(0, 5, clean.shape)).round().astype(np.uint8)
    assert measured_and_true(noisy + np.uint8(9), clean) == pytest.approx(measured_and_true(noisy, clean), abs=1e-3)
    assert measured_and_true(noisy, clean)[1] == pytest.approx(5, rel=0.05)


def test_the_command_prints_the_mean_and_the_worst(folders, model):
    noisy, clean = folders
    result = invoke(command, "--noisy", noisy, "--clean", clean, "-m", model)
    assert result.exit_code == 0, result.output
    assert "mean of 2: PSNR" in result.output
    gains = {line.split()[-1]: float(line.split("(")[1].split(")")[0]) for line in result.output.splitlines()[:2]}
    worst = min(gains, key=gains.__getitem__)
    assert f"worst: {worst}, {gains[worst]:+.2f} dB" in result.output


def test_the_command_tells_all_one_level(folders, model):
    noisy, clean = folders
    with Denoiser(model, "cpu", 1) as denoiser:
        level = shared_level([denoiser.noise(before) for _, before, _ in read_pairs(noisy, clean)])
        told = score_pairs(denoiser, noisy, clean, level)
    result = invoke(command, "--noisy", noisy, "--clean", clean, "-m", model, "--shared")
    assert result.exit_code == 0, result.output
    for pair, line in zip(told, result.output.splitlines()[:2], strict=True):
        assert f"({pair.gain_db:+.2f})   level {255 * level:.1f} of 255" in line
    refused = invoke(command, "--noisy", noisy, "--clean", clean, "-m", model, "--shared", "--sigma", "5")
    assert "give --sigma or --shared" in refused.stderr
    own = invoke(command, "--noisy", noisy, "--clean", clean, "-m", "color", "--shared")
    assert isinstance(own.exception, InputError)
    assert "is told no level" in str(own.exception)


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


def test_the_middle_of_a_pair(folders):
    image = np.arange(35, dtype=np.uint8).reshape(5, 7)
    assert middle(image, None) is image
    np.testing.assert_array_equal(middle(image, 3), image[1:4, 2:5])
    np.testing.assert_array_equal(middle(image, 6), image[:, :6])
    whole, cut = (list(read_pairs(*folders, crop_px)) for crop_px in (None, 32))
    for (_, *images), (_, *parts) in zip(whole, cut, strict=True):
        for image, part in zip(images, parts, strict=True):
            np.testing.assert_array_equal(part, image[32:64, 32:64])


def test_levels_are_told_one_after_the_other(folders, model):
    sigmas = (0.0, 0.03, 0.06, 0.1)
    with Denoiser(model, "cpu", 1) as denoiser:
        sweep = sweep_levels(denoiser, *folders, sigmas, crop_px=64)
        for sigma, found in zip(sigmas, sweep.psnr_db, strict=True):
            pairs = score_pairs(denoiser, *folders, sigma, 64)
            assert found == tuple(pair.scores.denoised_psnr_db for pair in pairs)
    table = np.array(sweep.psnr_db)
    assert sweep.best_sigma == sigmas[table.mean(axis=1).argmax()] > 0
    assert sweep.best_each_db == pytest.approx(table.max(axis=0).mean())
    result = invoke(
        command, "--noisy", folders[0], "--clean", folders[1], "-m", model, "--sigmas", "0,7.65,15.3,25.5", "--crop", 64
    )
    assert result.exit_code == 0, result.output
    printed = re.findall(r"^level +([\d.]+) of 255: +([\d.]+) dB$", result.output, re.MULTILINE)
    np.testing.assert_allclose(
        [[float(cell) for cell in row] for row in printed],
        np.column_stack([255 * np.array(sigmas), table.mean(axis=1)]),
        atol=0.06,
    )
    assert f"best single level: {255 * sweep.best_sigma:.1f} of 255, {table.mean(axis=1).max():.2f} dB" in result.output
    assert f"best level for each image: {sweep.best_each_db:.2f} dB" in result.output


def test_the_model_may_be_averaged_over_flips_and_turns(folders, model):
    with Denoiser(model, "cpu", 1) as denoiser:
        pairs = score_pairs(denoiser, *folders, ensemble=4)
        for pair, (_, noisy, clean) in zip(pairs, read_pairs(*folders), strict=True):
            assert pair.scores.denoised_psnr_db == pytest.approx(psnr_db(clean, denoiser.denoise(noisy, ensemble=4), 255))
    arguments = ("--noisy", folders[0], "--clean", folders[1], "-m", model)
    result = invoke(command, *arguments, "--ensemble", 4)
    assert result.exit_code == 0, result.output
    assert f"({pairs[0].gain_db:+.2f})" in result.output
    assert invoke(command, *arguments, "--ensemble", 3).exit_code == 2


def test_a_model_that_estimates_the_noise_is_not_told_levels(folders, tmp_path):
    (tmp_path / "blind.onnx").write_bytes(make_model(channels=3))
    result = invoke(command, "--noisy", folders[0], "--clean", folders[1], "-m", tmp_path / "blind.onnx", "--sigmas", "5")
    assert isinstance(result.exception, InputError)
    assert invoke(command, "--noisy", folders[0], "--clean", folders[1], "-m", "gray", "--sigmas", "5,much").exit_code == 2
