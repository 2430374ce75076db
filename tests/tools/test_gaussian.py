"""The Gaussian protocol: the noise, the measurement, and the command."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from builders import make_model
from dae_runtime.errors import InputError
from dae_runtime.images import Image, write_image
from dae_runtime.inference import Denoiser
from dae_tools.gaussian import add_gaussian, read_clean, score_gaussian


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two smooth gray pictures and one in color."""
    root = tmp_path_factory.mktemp("clean")
    ramp = np.linspace(10, 245, 96)
    gray = np.add.outer(ramp, ramp).astype(int) // 2
    write_image(root / "a.png", Image(gray.astype(np.uint8)))
    write_image(root / "b.png", Image((255 - gray).astype(np.uint8)))
    write_image(root / "c.png", Image(np.stack([gray, gray.T[::-1], 255 - gray], 2).astype(np.uint8)))
    return root


def test_noise_has_its_sigma_leaves_the_range_and_depends_on_the_seed_alone():
    clean = np.full((200, 200), 250, np.uint8)
    noisy = add_gaussian(clean, 25, (0, 1))
    assert noisy.dtype == np.float32
    assert noisy.std() * 255 == pytest.approx(25, rel=0.02)
    assert noisy.max() > 1.2
    np.testing.assert_array_equal(noisy, add_gaussian(clean, 25, (0, 1)))
    np.testing.assert_allclose(noisy - 250 / 255, (add_gaussian(clean, 50, (0, 1)) - 250 / 255) / 2, atol=1e-6)
    assert not np.array_equal(noisy, add_gaussian(clean, 25, (0, 2)))
    assert not np.array_equal(noisy, add_gaussian(clean, 25, (1, 1)))


def test_a_model_that_changes_nothing_keeps_the_noise(identity, folder):
    paths = sorted(folder.iterdir())
    none = score_gaussian(identity, paths, 0)
    assert [image.psnr_db for image in none.images] == [math.inf] * 3
    score = score_gaussian(identity, paths, 25)
    assert score.noisy_psnr_db == pytest.approx(-20 * math.log10(25 / 255), abs=0.1)
    # Clipping the output takes off a little of the noise; rounding adds next to nothing.
    assert all(image.noisy_psnr_db - 0.05 < image.psnr_db < image.noisy_psnr_db + 1 for image in score.images)
    assert score.psnr_db == pytest.approx(np.mean([image.psnr_db for image in score.images]))


def test_a_blur_gains_on_smooth_pictures_and_harms_little(blur, folder):
    paths = sorted(folder.iterdir())
    gains = [(s := score_gaussian(blur, paths, sigma)).psnr_db - s.noisy_psnr_db for sigma in (15, 50)]
    assert min(gains) > 4
    assert 28 < score_gaussian(blur, paths, 0).psnr_db < 40  # it blurs, and darkens the border
    assert score_gaussian(blur, paths, 15, seed=1) != score_gaussian(blur, paths, 15)


def test_a_model_may_be_told_the_level(folder, blur):
    paths = sorted(folder.iterdir())
    with Denoiser(make_model(gain=17.0), threads=1) as leveled:  # at 15/255 it blurs in full
        told = score_gaussian(leveled, paths, 15, told=True)
        assert told.psnr_db == pytest.approx(score_gaussian(blur, paths, 15).psnr_db, abs=0.05)
        assert all(image.psnr_db == math.inf for image in score_gaussian(leveled, paths, 0, told=True).images)
        assert score_gaussian(leveled, paths, 15).psnr_db != told.psnr_db
    with pytest.raises(InputError, match="sigma"):
        score_gaussian(blur, paths, 15, told=True)


def test_images_become_what_the_model_takes(folder):
    color = read_clean(folder / "c.png", 3)
    luma = read_clean(folder / "c.png", 1)
    assert (luma.shape, color.shape) == ((96, 96), (96, 96, 3))
    np.testing.assert_array_equal(luma, np.rint(color @ [0.299, 0.587, 0.114]))
    gray = read_clean(folder / "a.png", 1)
    np.testing.assert_array_equal(read_clean(folder / "a.png", 3), np.stack([gray] * 3, 2))


def test_what_cannot_be_measured_is_refused(identity, folder):
    with pytest.raises(InputError, match="no images"):
        score_gaussian(identity, [], 15)
    with pytest.raises(InputError, match="at least 0; received -1"):
        score_gaussian(identity, [folder / "a.png"], -1)


def test_the_command_prints_a_table_and_json(run_python, folder, blur_file, blur, tmp_path):
    arguments = ("-m", "dae_tools.gaussian", "-m", blur_file, "--images", folder, "--sigma", "25", "--seed", "3")
    finished = run_python(*arguments, "-v")
    assert (finished.returncode, finished.stderr) == (0, "")
    lines = finished.stdout.splitlines()
    assert lines[0] == "tiny: mean PSNR over 3 images, seed 3"
    assert [line.split()[0] for line in lines[1:]] == ["sigma", "a.png", "b.png", "c.png"] * 2
    expected = score_gaussian(blur, sorted(folder.iterdir()), 25, seed=3)
    assert f"noisy  {expected.noisy_psnr_db:.2f} dB   denoised  {expected.psnr_db:.2f} dB" in lines[5]
    document = json.loads(run_python(*arguments, "--json").stdout)
    assert [score["sigma"] for score in document["scores"]] == [0, 25]
    assert document["scores"][0]["noisy_psnr_db"] is None
    assert document["scores"][1]["psnr_db"] == pytest.approx(expected.psnr_db)
    (tmp_path / "none").mkdir()
    refused = run_python("-m", "dae_tools.gaussian", "-m", blur_file, "--images", tmp_path / "none")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "holds no images" in refused.stderr
