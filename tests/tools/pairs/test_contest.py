"""Models beside denoisers of other packages: the table, and the packages themselves."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from builders import invoke
from dae_runtime import Denoiser, MissingDependencyError
from dae_tools.pairs.command import command
from dae_tools.pairs.contest import Entry, compare, table
from dae_tools.pairs.methods import METHODS
from dae_tools.pairs.scores import read_pairs, score_pairs


def test_each_method_has_its_usual_settings_and_the_best_single_one(folders, model):
    with Denoiser(model, "cpu", 1) as denoiser:
        entries = compare(denoiser, ["nlm"], read_pairs(*folders, 48))
        ours = score_pairs(denoiser, *folders, crop_px=48)
    assert [entry.title for entry in entries[:3]] == ["tiny", "NLM, h 3", "NLM, h 10"]
    assert [pair.scores for pair in entries[0].pairs] == [pair.scores for pair in ours]
    best = entries[3]
    assert re.fullmatch(r"NLM, h [\d.]+, best for all", best.title)
    assert best.psnr_db > max(entry.psnr_db for entry in entries[1:3])
    for (_, noisy, _), pair in zip(read_pairs(*folders, 48), entries[1].pairs, strict=True):
        expected = cv2.fastNlMeansDenoisingColored(np.ascontiguousarray(noisy), None, 3, 3, 7, 21)
        np.testing.assert_array_equal(METHODS["nlm"].denoise(noisy, 3.0), expected)
        assert pair.gain_db > 0


def test_the_table_has_what_gets_worse_and_times_as_ratios(folders):
    def entry(title, denoise, seconds):
        made = Entry(title, denoise)
        for pair in read_pairs(*folders):
            made.add(*pair)
        made.seconds = seconds
        return made

    blurred = entry("blur", lambda image: cv2.GaussianBlur(image, (5, 5), 1), 2.0)
    emptied = entry("black", np.zeros_like, 0.5)
    _, noisy, *rows = [line.split() for line in table([blurred, emptied])]
    assert noisy[:2] == ["noisy", f"{np.mean([pair.scores.noisy_psnr_db for pair in blurred.pairs]):.2f}"]
    worst = min(pair.gain_db for pair in blurred.pairs)
    assert rows[0] == ["blur", f"{blurred.psnr_db:.2f}", rows[0][2], f"{worst:+.2f}", "dB", "0", "of", "2", "1.0"]
    assert rows[1][-4:] == ["2", "of", "2", "0.2"]


def test_the_command_prints_the_table(folders, model):
    arguments = ("--noisy", folders[0], "--clean", folders[1], "-m", model, "--crop", 48, "--threads", 1)
    result = invoke(command, *arguments, "--against", "nlm")
    assert result.exit_code == 0, result.output
    assert [line.split(",")[0].split()[0] for line in result.output.splitlines()] == [
        "PSNR",
        "noisy",
        "tiny",
        "NLM",
        "NLM",
        "NLM",
    ]
    assert invoke(command, *arguments, "--against", "nlm,median").exit_code == 2


def test_gray_images_too():
    noisy = np.full((40, 40), 90, np.uint8) + np.random.default_rng(0).integers(0, 20, (40, 40), np.uint8)
    denoised = METHODS["nlm"].denoise(noisy, 12.0)
    assert denoised.shape == noisy.shape
    assert denoised.std() < noisy.std() / 2


def test_all_missing_packages_are_named_at_once(folders, model, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("bm3d", "skimage") else found(name))
    result = invoke(command, "--noisy", folders[0], "--clean", folders[1], "-m", model, "--against", "nlm,wavelet,bm3d")
    assert isinstance(result.exception, MissingDependencyError)
    assert "pip install scikit-image bm3d" in str(result.exception)
    assert "opencv" not in str(result.exception)


@pytest.mark.network
def test_bm3d_and_wavelets_in_their_own_packages(folders, model, tmp_path):
    site = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", site, "bm3d", "scikit-image"], check=True)
    paths = os.pathsep.join([os.environ.get("PYTHONPATH", ""), *sys.path, str(site)])
    noisy, clean = folders
    arguments = ["--noisy", noisy, "--clean", clean, "-m", model, "--crop", "40", "--against", "bm3d,wavelet"]
    run = subprocess.run(
        [sys.executable, "-m", "dae_tools.pairs", *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = run.stdout.splitlines()
    assert [line.split("  ")[0].split(" ")[0] for line in lines[2:]] == [
        "tiny",
        "BM3D,",
        "BM3D,",
        "BayesShrink,",
        "BayesShrink,",
    ]
    gains = [float(re.search(r"([+-][\d.]+) dB", line)[1]) for line in lines[2:]]
    assert min(gains) > 0  # smooth pictures
