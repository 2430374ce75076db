"""Noise measured in folders of noisy images."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dae_runtime.contract import gaussian_range, parse_noise
from dae_runtime.images import Image, write_image
from dae_train import DataError, DataSettings, NoiseSettings, RunConfig
from dae_train.data import synthetic, textures
from dae_train.fitting.preparation import prepare
from dae_train.noise.fit import resolve
from dae_train.noise.fit_sensor import NoiseFit, fit_folder, fit_images
from dae_train.settings.noise import FitRequest

VALUES = (0.25, 0.5, 0.75)


@functools.cache
def scenes(count: int, channels: int = 1) -> np.ndarray:
    """Return clean images in [0, 1], (N, 128, 128, C)."""
    return synthetic.make_images(count, 128, channels, seed=7) / np.float32(255)


def shots(clean: np.ndarray, gain: float, sigma: float, seed: int, levels: int = 255) -> np.ndarray:
    """Return noisy images as a camera would store them."""
    rng = np.random.default_rng(seed)
    counted = rng.poisson(clean / gain) * gain if gain else clean
    noisy = np.clip(counted + rng.normal(0, sigma, clean.shape), 0, 1)
    return np.rint(noisy * levels).astype(np.uint8 if levels == 255 else np.uint16)


def write_all(folder: Path, images: Sequence[np.ndarray]) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        write_image(folder / f"{index:03}.png", Image(image))
    return folder


def worst(fit: NoiseFit, gain: float, sigma: float) -> float:
    """Return the largest relative error of the variance in the middle of the brightness range."""
    return max(abs(fit.deviation(value) ** 2 / (gain * value + sigma**2) - 1) for value in VALUES)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("gain", "sigma"), [(0.01, 0.02), (0.002, 0.01), (0.03, 0.0), (0.0, 0.05), (0.0, 0.015)])
def test_variance_is_right_at_all_brightnesses(gain: float, sigma: float, seed: int) -> None:
    fit = fit_images(shots(scenes(32), gain, sigma, seed))
    assert worst(fit, gain, sigma) < 0.15
    assert fit.spec().startswith("poisson-gaussian:" if gain else "gaussian:")
    assert fit.images == 32


@pytest.mark.parametrize(("channels", "levels"), [(1, 65535), (3, 255), (3, 65535)])
def test_folders_of_gray_and_color_of_8_and_16_bits(tmp_path: Path, channels: int, levels: int) -> None:
    folder = write_all(tmp_path / "shots", shots(scenes(16, channels), 0.01, 0.02, 3, levels))
    fit = fit_folder(folder)
    assert worst(fit, 0.01, 0.02) < 0.15
    assert 0 < fit.darkest < fit.brightest < 1


def test_a_network_that_is_given_the_level_gets_a_range_around_it(tmp_path: Path) -> None:
    folder = str(write_all(tmp_path / "shots", shots(scenes(16), 0, 0.05, 3)))
    request, wider = FitRequest(f"fit:{folder}", folder, 1, 1), FitRequest(f"fit:0.8-1.2:{folder}", folder, 0.8, 1.2)
    fit = fit_folder(Path(folder))
    assert gaussian_range(resolve(request)[0]) == pytest.approx((fit.sigma, fit.sigma), rel=1e-3)
    assert gaussian_range(resolve(request, leveled=True)[0]) == pytest.approx((0.5 * fit.sigma, 1.5 * fit.sigma), rel=1e-3)
    assert gaussian_range(resolve(wider, leveled=True)[0]) == pytest.approx((0.8 * fit.sigma, 1.2 * fit.sigma), rel=1e-3)


@pytest.mark.parametrize("levels", [255, 65535])
def test_clean_images_have_negligible_noise(levels: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clean = shots(scenes(32), 0, 0, 0, levels)
    fit = fit_images(clean)
    assert fit.gain == 0
    assert fit.sigma < 1 / 255
    folder = write_all(tmp_path / "clean", clean)
    assert resolve(FitRequest(f"fit:{folder}", str(folder), 1, 1))[0] == fit.spec()
    assert "noise is negligible" in caplog.text


def test_smoothed_noise_is_refused(tmp_path: Path) -> None:
    noisy = shots(scenes(32), 0, 0.08, 0) / np.float32(255)
    smooth = [np.rint(textures.blur(image, 0.7) * 255).astype(np.uint8) for image in noisy]
    with pytest.raises(DataError, match="smooth cannot be measured: it is correlated between pixels"):
        fit_folder(write_all(tmp_path / "smooth", smooth))


def test_too_little_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected at least 160 patches of 8x8 pixels .* found 6\d in 1 images"):
        fit_folder(write_all(tmp_path / "small", shots(scenes(1), 0, 0.02, 0)[:, :72, :72]))
    with pytest.raises(DataError, match="found 0 in 2 images"):
        fit_images([np.zeros((4, 300, 1), np.uint8), np.full((300, 300, 1), 255, np.uint8)])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        fit_folder(tmp_path / "nothing")


def test_alpha_is_ignored() -> None:
    noisy = shots(scenes(32), 0, 0.04, 0)
    opaque = np.concatenate([noisy, np.random.default_rng(0).integers(0, 255, noisy.shape, np.uint8)], axis=-1)
    assert fit_images(opaque) == fit_images(noisy)


def test_specifications_can_be_read_and_ranges_multiply_the_deviation() -> None:
    fit = NoiseFit(2e-5, 0.003, 1, 200, 0.1, 0.9)
    ((step,),) = parse_noise(fit.spec(0.5, 2)).recipes
    assert (step.kind, [(a.low, a.high) for a in step.amounts]) == ("poisson-gaussian", [(5e-6, 8e-5), (0.0015, 0.006)])
    ((step,),) = parse_noise(NoiseFit(0, 1 / 3, 1, 200, 0.1, 0.9).spec()).recipes
    assert (step.kind, step.amounts[0].low, step.amounts[0].fixed) == ("gaussian", 0.3333, True)


def test_a_run_uses_and_records_the_measured_noise(tmp_path: Path) -> None:
    folder = write_all(tmp_path / "shots", shots(scenes(32), 0.0, 0.05, 3))
    prepared = prepare(RunConfig(noise=NoiseSettings(f"fit:0.5-2:{folder}"), data=DataSettings(limit=4)))
    ((step,),) = prepared.config.noise.recipes
    assert step.amounts[0].low == pytest.approx(0.025, rel=0.08)
    assert step.amounts[0].high == pytest.approx(0.1, rel=0.08)
    record = prepared.record["noise_fit"]
    assert (record["request"], record["spec"]) == (f"fit:0.5-2:{folder}", str(prepared.config.noise.spec))
    assert prepare(prepared.config).record == {}


def test_missing_folder_is_an_error_before_anything_is_loaded(dae_train: Callable[..., Any], tmp_path: Path) -> None:
    done = dae_train("synthetic", "--noise", f"fit:{tmp_path / 'nowhere'}", "-o", tmp_path / "run")
    assert done.returncode == 2
    assert "nowhere is not a folder. Give a folder of noisy images." in done.stderr
    assert not (tmp_path / "run").exists()
