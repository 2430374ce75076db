from __future__ import annotations

import math

import numpy as np
import pytest

from dae_runtime.errors import InputError
from dae_runtime.pixels.metrics import gaussian_window, mean_square_error, psnr_db, psnr_of_mse, ssim
from dae_runtime.pixels.scores import Scores, mean_scores, score


def test_psnr_of_known_errors():
    clean = np.full((4, 5), 0.5)
    assert psnr_db(clean, clean + 0.1) == pytest.approx(20)
    assert psnr_db(clean * 255, clean * 255 + 25.5, 255) == pytest.approx(20)
    assert psnr_db(clean, clean) == math.inf
    assert mean_square_error(clean, clean + 0.1) == pytest.approx(0.01)
    # uint8 differences do not wrap around.
    assert mean_square_error(np.uint8([0]), np.uint8([255])) == 65025


def test_psnr_of_an_error_stops_at_a_ceiling():
    assert psnr_of_mse(0.01) == pytest.approx(20)
    assert psnr_of_mse(25.0, 255) == pytest.approx(20 * math.log10(51))
    assert psnr_of_mse(0.0) == math.inf
    assert psnr_of_mse(0.0, largest_db=100) == psnr_of_mse(1e-12, largest_db=100) == 100
    assert psnr_of_mse(1e-9, largest_db=100) == pytest.approx(90)


def test_ssim_of_flat_images_is_the_luminance_term():
    a, b, c1 = 0.2, 0.7, 0.01**2
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    assert ssim(np.full((16, 16), a), np.full((16, 16), b)) == pytest.approx(expected)


def test_ssim_agrees_with_its_definition_window_by_window():
    rng = np.random.default_rng(0)
    x, y = rng.random((13, 15)), rng.random((13, 15))
    weights = np.outer(gaussian_window(11), gaussian_window(11))
    values = []
    for top in range(3):
        for left in range(5):
            p, q = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
            mean_p, mean_q = (weights * p).sum(), (weights * q).sum()
            var_p, var_q = (weights * (p - mean_p) ** 2).sum(), (weights * (q - mean_q) ** 2).sum()
            covariance = (weights * (p - mean_p) * (q - mean_q)).sum()
            values.append(
                (2 * mean_p * mean_q + 1e-4)
                * (2 * covariance + 9e-4)
                / ((mean_p**2 + mean_q**2 + 1e-4) * (var_p + var_q + 9e-4))
            )
    assert ssim(x, y) == pytest.approx(np.mean(values))
    assert ssim(x * 255, y * 255, 255) == pytest.approx(np.mean(values))
    assert ssim(np.dstack([x, x]), np.dstack([y, y])) == pytest.approx(np.mean(values))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (10, 12), (11, 1, 3)])
def test_ssim_of_small_images(shape):
    image = np.random.default_rng(0).random(shape)
    assert ssim(image, image) == pytest.approx(1)


def test_different_shapes_are_refused():
    for measure in (psnr_db, ssim, mean_square_error):
        with pytest.raises(InputError, match=r"\(4, 4\).*\(4, 5\)"):
            measure(np.zeros((4, 4)), np.zeros((4, 5)))


def test_scores_ignore_alpha_and_compare_across_dtypes():
    clean = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    alpha = np.zeros((20, 20, 1), np.uint8)
    worse = np.minimum(clean, 250)
    result = score(clean.astype(np.uint16) * 257, np.dstack([worse, alpha]), np.dstack([clean, alpha]))
    assert result.denoised_psnr_db > 100
    assert result.noisy_psnr_db < 60
    assert result.denoised_ssim == pytest.approx(1)
    with pytest.raises(InputError, match="the same image"):
        score(clean[..., 0], worse, worse)


def test_means():
    assert mean_scores([Scores(10, 20, 0.1, 0.5), Scores(20, math.inf, 0.3, 0.7)]) == Scores(
        15, math.inf, pytest.approx(0.2), pytest.approx(0.6)
    )
    with pytest.raises(InputError):
        mean_scores([])
