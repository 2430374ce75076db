"""What the default models did not see, on whole pictures: rings at alpha edges, noise equal in all channels, masks."""

from __future__ import annotations

import numpy as np
import pytest

from builders import IDENTITY, make_model, random_pixels
from dae_runtime import Denoiser, FolderRequest, ModelError, run_folder
from dae_runtime.errors import InputError
from dae_runtime.images import Image, write_image

Y, X = np.mgrid[:96, :96]


def psnr(first, second):
    return 10 * np.log10(255**2 / np.mean((first.astype(float) - second) ** 2))


@pytest.fixture(scope="module")
def denoiser():
    with Denoiser(device="cpu") as opened:
        yield opened


def waves(side):
    y, x = np.mgrid[:side, :side]
    return np.stack([128 + 50 * np.sin(x / 13 + k) * np.cos(y / 17 + 2 * k) for k in range(3)], axis=2)


@pytest.fixture(scope="module")
def colored():
    return waves(96)


@pytest.mark.parametrize("share", [0.8, 1])
def test_noise_that_is_equal_in_all_channels_goes_nearly_as_other_noise_does(denoiser, share):
    rng, colored = np.random.default_rng(0), waves(192)  # large enough to measure the level well
    independent = rng.normal(0, 25, colored.shape)
    equal = share * rng.normal(0, 25, (192, 192, 1)) + (1 - share**2) ** 0.5 * rng.normal(0, 25, colored.shape)
    gains = [
        psnr(denoiser.denoise(noisy), colored) - psnr(noisy, colored)
        for noisy in (np.clip(np.rint(colored + noise), 0, 255).astype(np.uint8) for noise in (independent, equal))
    ]
    assert gains[1] > gains[0] - 2


@pytest.mark.parametrize("shares", [{"strength": 0.0}, {"luma": 0.0}])
def test_brightness_that_shall_stay_stays(denoiser, colored, shares):
    noisy = np.clip(colored + np.random.default_rng(0).normal(0, 25, (96, 96, 1)), 0, 255).astype(np.uint8)
    change = denoiser.denoise(noisy, **shares).astype(float) - noisy
    assert np.abs(change @ [0.299, 0.587, 0.114]).max() < 1.01


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("behind", [0, 255])
def test_the_edge_of_a_transparent_part_is_as_clean_as_the_rest(denoiser, colored, channels, behind):
    clean = colored[..., : channels - 1]
    noisy = np.clip(np.rint(clean + np.random.default_rng(0).normal(0, 25, clean.shape)), 0, 255)
    visible = (X - 48) ** 2 + (Y - 48) ** 2 < 30**2
    image = np.concatenate([np.where(visible[..., None], noisy, behind), 255 * visible[..., None]], axis=2).astype(np.uint8)
    result = denoiser.denoise(image)
    np.testing.assert_array_equal(result[~visible], image[~visible])
    ring = visible & ((X - 48) ** 2 + (Y - 48) ** 2 > 27**2)
    assert psnr(result[ring][:, :-1], clean[ring]) > psnr(noisy[ring], clean[ring]) + 11


@pytest.mark.parametrize("wrap", [lambda array: array, lambda array: [array, array]], ids=["array", "list"])
def test_a_mask_is_not_lost(denoiser, wrap):
    values = np.zeros((12, 12), np.uint8)
    with pytest.raises(InputError, match=r"mask.*numpy\.ma\.filled"):
        denoiser.denoise(wrap(np.ma.masked_array(values, mask=values == 0)))
    assert denoiser.denoise(np.ma.masked_array(values, mask=False)).shape == (12, 12)


@pytest.mark.parametrize("how", ["replaced", "rewritten", "cut off"])
def test_a_model_file_that_changes_while_it_is_open(tmp_path, blur_bytes, how):
    """The opened model goes on; a run that would record the file as its model is refused."""
    model, noisy = tmp_path / "m.onnx", random_pixels((20, 20))
    model.write_bytes(blur_bytes)
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", Image(noisy))
    with Denoiser(model, "cpu", 1) as denoiser:
        before = denoiser.denoise(noisy)
        if how == "replaced":
            (tmp_path / "n.onnx").write_bytes(make_model(IDENTITY))
            (tmp_path / "n.onnx").replace(model)
        else:
            model.write_bytes(make_model(IDENTITY) if how == "rewritten" else b"x")
        np.testing.assert_array_equal(denoiser.denoise(noisy), before)
        with pytest.raises(ModelError, match="has changed since it was opened"):
            run_folder(FolderRequest(tmp_path / "in", tmp_path / "out", resume=True), denoiser)
    assert not (tmp_path / "out").exists()
