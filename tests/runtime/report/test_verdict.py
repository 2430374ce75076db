"""What a report says in words, and which part of an image it shows."""

from __future__ import annotations

import numpy as np
import pytest

from dae_runtime.report.figures import _middle_of, most_changed
from dae_runtime.report.residual import Residual, residual_structure
from dae_runtime.report.verdict import judge, summary_text

RNG = np.random.default_rng(0)


NONE, LITTLE, MUCH = (
    "no detail is seen in",
    "a little detail may have gone",
    "detail or contrast went with it: try --detail 0.7",
)


@pytest.mark.parametrize(
    ("before", "after", "residual", "psnr", "words", "fall"),
    [
        (8, 2, (0.02, -0.5), None, f"Almost all of the noise is gone; {NONE} what was removed.", 0),
        (8, 5, (0.2, -0.5), (30, 31), f"Much of the noise is gone; {LITTLE}", 0),
        (8, 5, (0.02, 0.05), None, f"Much of the noise is gone; {LITTLE}", 0),
        (8, 7, (0.02, 0.2), None, f"A part of the noise is gone; {MUCH}", 0),
        (8, 7, (0.02, 0.2), (30, 31), f"A part of the noise is gone; {LITTLE}", 0),
        (8, 8, (-0.5, -0.5), (30, 29), f"The noise is as it was; {MUCH}", 1),
        (8, 2, (0.02, -0.5), (30, 29.8), f"Almost all of the noise is gone; {LITTLE}", 0.2),
        (1, 1, (0, 0), (30, 29.97), f"Smooth noise of 255.0 of 255 was taken out; {NONE}", 0),
        (None, None, (0, 0), None, "Too small to say", 0),
    ],
)
def test_a_verdict_is_in_words(before, after, residual, psnr, words, fall):
    sigmas = [None if sigma is None else sigma / 255 for sigma in (before, after)]
    verdict = judge(*sigmas, Residual(residual[0], 0.7, 0.7, residual[1]), psnr)
    assert verdict.text.startswith(words)
    assert verdict.fall_db == pytest.approx(fall)


def test_a_change_that_is_not_seen_is_no_loss():
    unseen = Residual(0.9, 0.9, 0.9, 0.9, rms=1 / 255)
    assert judge(0.01, 0.01, unseen, None).text == "Hardly anything was changed."
    fallen = judge(0.001, 0.001, unseen, (50, 40))
    assert fallen.fall_db == 10
    assert fallen.text.startswith("There was hardly any noise; ")


def test_detail_that_goes_is_told_from_noise_that_does():
    """The left half has texture; a good denoiser leaves noise there, a bad one takes the texture."""
    texture = np.zeros((128, 256, 1), np.float32)
    texture[:, :128] = 0.08 * RNG.standard_normal((128, 128, 1))
    noise = np.float32(0.03) * RNG.standard_normal(texture.shape).astype(np.float32)
    kept = noise * np.where(texture == 0, 0, np.float32(0.5))
    good = residual_structure(0.5 + texture + noise, 0.5 + texture + kept)
    bad = residual_structure(0.5 + texture + noise, 0.5 + texture * np.float32(0.4))
    assert good.with_detail < -0.3
    assert bad.with_detail > 0.3
    assert bad.rms == pytest.approx(float(np.sqrt((0.036 * texture / 0.06).var() + 0.03**2)), rel=0.2)


def test_verdicts_are_counted():
    judged = [judge(0.1, 0.02, Residual(structure, 0, 0), None) for structure in (0, 0.01, 0.25, 0.9)]
    expected = "2 without visible loss of detail, 1 with a little loss of detail at most, 1 with loss of detail or contrast"
    assert summary_text(judged) == f"Of 4 images below: {expected}."
    assert summary_text([]) == ""


@pytest.mark.parametrize("shape", [(300, 500, 3), (305, 509, 1), (40, 900, 3)])
@pytest.mark.parametrize("corner", [(0, 0), (1, 1)])
def test_pictures_show_where_most_changed(shape, corner):
    noisy = RNG.random(shape, np.float32) * np.float32(0.02)
    denoised = noisy * 0
    assert most_changed(noisy, denoised, 100) == _middle_of(shape, 100)  # all changed alike
    side = min(64, *shape[:2])
    top, left = ((length - side) * at for length, at in zip(shape, corner, strict=False))
    denoised[top : top + side, left : left + side] = 1
    rows, columns = most_changed(noisy, denoised, 100)
    shown = np.zeros(shape[:2], bool)
    shown[rows, columns] = True
    assert (rows.stop - rows.start, columns.stop - columns.start) == (min(100, shape[0]), 100)
    assert shown[top : top + side, left : left + side].mean() > 0.7
    assert most_changed(noisy, denoised, 5000) == (slice(0, shape[0]), slice(0, shape[1]))
