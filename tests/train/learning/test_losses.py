"""Losses and metrics against their definitions in numpy."""

import numpy as np
import pytest
from keras import ops

from dae_runtime.pixels import metrics
from dae_train.judging.image_metrics import Psnr, Ssim, ssim
from dae_train.learning.losses import LOSS_FUNCTIONS, weight
from dae_train.settings import training as training_settings

RNG = np.random.default_rng(0)
CLEAN = RNG.random((3, 20, 24, 3), np.float32)
DENOISED = np.clip(CLEAN + 0.1 * RNG.standard_normal(CLEAN.shape), 0.01, 0.99).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mse", np.mean((CLEAN - DENOISED) ** 2)),
        ("l1", np.mean(np.abs(CLEAN - DENOISED))),
        ("charbonnier", np.mean(np.sqrt((CLEAN - DENOISED) ** 2 + 1e-6))),
        ("bce", -np.mean(CLEAN * np.log(DENOISED) + (1 - CLEAN) * np.log(1 - DENOISED))),
    ],
)
def test_loss_is_its_definition(name: str, expected: float) -> None:
    assert float(np.mean(ops.convert_to_numpy(LOSS_FUNCTIONS[name](CLEAN, DENOISED)))) == pytest.approx(
        float(expected), rel=1e-5
    )


def test_losses_are_those_of_the_settings() -> None:
    assert set(LOSS_FUNCTIONS) == set(training_settings.LOSSES)


@pytest.mark.parametrize("size", [(28, 28), (20, 24), (11, 11), (10, 7), (2, 1), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_that_of_the_runtime(size: tuple[int, int], channels: int) -> None:
    rng = np.random.default_rng(1)
    clean = rng.random((2, *size, channels), np.float32)
    noisy = np.clip(clean + 0.2 * rng.standard_normal(clean.shape), 0, 1).astype(np.float32)
    found = ops.convert_to_numpy(ssim(clean, noisy))
    expected = [metrics.ssim(a, b) for a, b in zip(clean, noisy, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(ops.convert_to_numpy(ssim(clean, clean)), 1, atol=1e-4)


def test_metrics_gather_over_batches_of_unequal_size() -> None:
    psnr, similarity = Psnr(), Ssim()
    for part in (slice(0, 2), slice(2, 3)):
        psnr.update_state(CLEAN[part], DENOISED[part])
        similarity.update_state(CLEAN[part], DENOISED[part])
    assert float(psnr.result()) == pytest.approx(metrics.psnr_db(CLEAN, DENOISED), abs=1e-3)
    expected = np.mean([metrics.ssim(a, b) for a, b in zip(CLEAN, DENOISED, strict=True)])
    assert float(similarity.result()) == pytest.approx(expected, abs=1e-4)


def test_weight_of_a_level_is_one_over_its_usual_error() -> None:
    """At 15/255 a small network leaves 33.9 dB; the error grows a little faster than the level, from 2/255 up."""
    levels = np.float32([0, 1 / 255, 2 / 255, 15 / 255, 30 / 255])
    found = np.asarray(weight(levels))
    assert -10 * np.log10(1 / found[3]) == pytest.approx(33.9, abs=0.01)
    assert found[3] / found[4] == pytest.approx(2**1.13, rel=1e-4)
    np.testing.assert_allclose(found[:3], found[2])
