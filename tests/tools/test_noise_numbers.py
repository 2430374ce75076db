"""The numbers of a recipe's noise beside those of photographs."""

from __future__ import annotations

import numpy as np
import pytest

from builders import invoke
from dae_runtime.images import Image, write_image
from dae_tools.noise_numbers import command, measure_folder, measure_recipe


@pytest.fixture
def folders(tmp_path):
    """Three pairs of smooth pictures in color with white noise of 8 of 255."""
    ramp = np.linspace(90, 160, 128)
    for number in range(3):
        clean = np.stack([np.add.outer(ramp, ramp) / 2] * 3, axis=2)
        noisy = clean + np.random.default_rng(number).normal(0, 8, clean.shape)
        for name, pixels in (("clean", clean), ("noisy", noisy)):
            (tmp_path / name).mkdir(exist_ok=True)
            write_image(tmp_path / name / f"{number}.png", Image(np.rint(pixels).clip(0, 255).astype(np.uint8)))
    return tmp_path / "noisy", tmp_path / "clean"


def test_pairs_and_flat_blocks_and_the_recipe_agree_on_white_noise(folders):
    noisy, clean = folders
    for rows in (measure_folder(noisy, clean), measure_folder(noisy, None), measure_recipe("gaussian:8/255", clean, False)):
        assert len(rows) == 3
        for row in rows:
            assert 255 * row.noise.level == pytest.approx(8, rel=0.08)
            assert row.noise.luma[0] == pytest.approx(0, abs=0.08)
            assert row.seen[0] == pytest.approx(1, abs=0.1)


def test_brightness_that_differs_within_a_pair_is_no_noise(tmp_path):
    ramp = np.linspace(60, 190, 128)
    clean = np.stack([np.add.outer(ramp, ramp) / 2] * 3, axis=2)
    clean[40:70, 20:100] += 40 * np.random.default_rng(1).random((30, 80, 1)).round()  # texture
    noise = np.random.default_rng(0).normal(0, 4, clean.shape)
    found = []
    for name, gain in (("as it is", 1.0), ("brighter", 1.08)):
        folders = tmp_path / name / "noisy", tmp_path / name / "clean"
        for folder, pixels in zip(folders, (gain * clean + noise, clean), strict=True):
            folder.mkdir(parents=True)
            write_image(folder / "0.png", Image(np.rint(pixels).clip(0, 255).astype(np.uint8)))
        found += measure_folder(*folders)
    plain, brighter = (row.noise for row in found)
    assert brighter.level == pytest.approx(plain.level, rel=0.02)
    assert brighter.luma == pytest.approx(plain.luma, abs=0.02)
    assert abs(brighter.luma[2]) < 0.15


def test_the_command_prints_both_columns(folders):
    noisy, clean = folders
    result = invoke(command, "--noise", "gaussian:8/255", "--clean", clean, "--noisy", noisy, "--reference", clean)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].split()[-2:] == ["gaussian:8/255", "photographs"]
    assert [float(cell.split("[")[0].split()[-1]) for cell in lines[1].split("]")[:2]] == pytest.approx([8, 8], abs=0.3)
    assert "6 to 8" in result.output
    assert invoke(command, "--noise", "none", "--clean", clean, "--reference", clean).exit_code == 2


def test_recover_prints_true_and_estimated_amounts(folders, monkeypatch):
    monkeypatch.setattr("dae_train.noise.fit_camera.PICTURES", 40)
    monkeypatch.setattr("dae_train.noise.fit_camera.CROP_PX", 128)
    _, clean = folders
    result = invoke(command, "--noise", "camera:6400,0.5,0.6", "--clean", clean, "--recover", "2")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines()]
    assert rows[0] == ["true", "estimated"]
    assert [row[:2] for row in rows[1:4]] == [["ISO", "6400"], ["BLUR", "0.5"], ["COLOR", "0.6"]]
    assert 1000 < float(rows[1][2]) < 30_001
    assert rows[4][0].startswith("camera:")
    assert invoke(command, "--noise", "gaussian:0.1", "--clean", clean, "--recover", "2").exit_code == 2
