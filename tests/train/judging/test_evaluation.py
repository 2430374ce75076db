"""Evaluation of a denoiser, and calibration samples."""

from pathlib import Path

import numpy as np
import pytest

from dae_runtime.pixels import metrics
from dae_train.fitting.preparation import prepare
from dae_train.judging.evaluation import calibration_samples, denoise, evaluate
from dae_train.networks import build_network
from dae_train.settings.config import DataSettings, RunConfig
from dae_train.settings.networks import preset_settings


@pytest.mark.parametrize("size", [(28, 28), (30, 45), (1, 1), (5, 3)])
def test_images_of_any_size_are_evaluated(size: tuple[int, int]) -> None:
    network = build_network(preset_settings("v2", channels=3))
    rng = np.random.default_rng(0)
    clean = rng.random((3, *size, 3), np.float32)
    noisy = np.clip(clean + 0.1 * rng.standard_normal(clean.shape), 0, 1).astype(np.float32)
    denoised = denoise(network, noisy, 4)
    assert denoised.shape == noisy.shape
    found = evaluate(network, noisy, clean, 4)
    assert found["images"] == 3
    assert found["mse"] == pytest.approx(metrics.mean_square_error(clean, denoised))
    assert found["psnr_db"] == pytest.approx(metrics.psnr_db(clean, denoised))
    assert found["noisy_psnr_db"] == pytest.approx(metrics.psnr_db(clean, noisy))
    assert found["ssim"] == pytest.approx(
        np.mean([metrics.ssim(a, b) for a, b in zip(clean, denoised, strict=True)]), abs=1e-4
    )
    expected = -np.mean(clean * np.log(denoised) + (1 - clean) * np.log(1 - denoised))
    assert found["bce"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(("count", "size"), [(1, 28), (3, 28), (2000, 28), (64, 128), (10, 600)])
def test_calibration_and_test_samples_are_disjoint(count: int, size: int) -> None:
    clean = np.broadcast_to(np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1), (count, size, size, 1))
    samples = calibration_samples(clean + 1, clean, np.arange(count))
    assert all(len(samples[name]) > 0 for name in ("noisy", "test_noisy"))
    first, second = (set(samples[name][:, 0, 0, 0].tolist()) for name in ("clean", "test_clean"))
    assert not first & second or count == 1
    assert sum(array.nbytes for array in samples.values()) <= 2 * 4 * (2**19 + 2**18) or count * size <= 6000


@pytest.mark.parametrize("side", [16, 64, 128, 256])
@pytest.mark.parametrize("images", [1, 2, 3, 4, 5, 19, 63, 64, 100])
def test_calibration_and_test_crops_are_of_different_images(images: int, side: int, tmp_path: Path) -> None:
    values = np.arange(images + 1, dtype=np.uint8).reshape(-1, 1, 1, 1)
    np.save(tmp_path / "a.npy", np.broadcast_to(values, (images + 1, side + 8, side, 1)))
    data = DataSettings(str(tmp_path / "a.npy"), patch_px=side, validation_fraction=images / (images + 1))
    pieces = prepare(RunConfig(data=data)).calibration
    count = max(64, images)
    assert len(pieces.clean) == count
    samples = calibration_samples(pieces.input, pieces.clean, pieces.images)
    calibrating = min(256, max(8, 2**19 // side**2), max(1, count * 2 // 3))
    judging = min(256, max(8, 2**18 // side**2), count - calibrating)
    assert [len(array) for array in samples.values()] == [calibrating, calibrating, judging, judging]
    first, second = (set(samples[name][:, 0, 0, 0].tolist()) for name in ("noisy", "test_noisy"))
    assert not first & second or images == 1
    if calibrating == count * 2 // 3:
        assert len(first) == max(1, images * 2 // 3)
