"""The default models: which of the two gets an image, and the properties of their Denoiser."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dae_runtime import DaeError, Denoiser, InputError, ModelError
from dae_runtime.diagnosis.self_test import self_test
from dae_runtime.inference import ENGINE_SHARE
from dae_runtime.models import bundled as models


def picture(channels: int, dtype=np.uint8, size=(21, 30), seed=0) -> np.ndarray:
    """A random image; of one channel it has two axes."""
    shape = size if channels == 1 else (*size, channels)
    image = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    return image if dtype == np.uint8 else (image / np.float32(255)).astype(dtype)


@pytest.fixture
def folder(tmp_path, make_model, identity_kernel, monkeypatch):
    """A folder of bundled models: the gray one blurs, the color one changes nothing."""
    (tmp_path / "gray.onnx").write_bytes(make_model(alignment=4, name="gray"))
    (tmp_path / "color.onnx").write_bytes(make_model(identity_kernel, channels=3, name="color"))
    monkeypatch.setattr(models, "MODEL_FOLDER", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [(), ("default",)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_each_image_goes_to_the_model_of_its_channels(folder, blur, name, channels):
    denoiser, image = Denoiser(*name, device="cpu", threads=1), picture(channels)
    if channels > 2:
        np.testing.assert_array_equal(denoiser.denoise(image), image)
    else:
        np.testing.assert_array_equal(denoiser.denoise(image), blur.denoise(image))
        assert (denoiser.denoise(image) != image).any()


def test_it_tells_the_model_that_worked(folder):
    denoiser = Denoiser(device="cpu", threads=1)
    assert denoiser.model.name == "gray"
    assert denoiser.models_used == ()
    denoiser.denoise(picture(3))
    assert (denoiser.model.name, denoiser.model.channels) == ("color", 3)
    assert [model.name for model in denoiser.models_used] == ["color"]
    assert self_test(denoiser).passed
    denoiser.denoise(picture(2))
    assert denoiser.model.name == "gray"
    assert self_test(denoiser).passed
    assert [model.name for model in denoiser.models_used] == ["color", "gray"]
    assert repr(denoiser) == "Denoiser('gray' and 'color', fp32, device='cpu')"


def test_the_second_model_is_opened_when_it_is_needed(folder):
    (folder / "color.onnx").write_bytes(b"damaged")
    denoiser = Denoiser(device="cpu", threads=1)
    denoiser.denoise(picture(1))
    with pytest.raises(ModelError, match=r"color\.onnx"):
        denoiser.denoise(picture(3))
    denoiser.denoise(picture(1))


def test_a_stream_of_both_keeps_the_order(folder):
    images = [picture(channels, seed=seed) for seed, channels in enumerate([1, 3, 4, 1, 2, 3, 1])]
    denoiser = Denoiser(device="cpu", threads=1)
    for image, clean in zip(images, denoiser.stream(images), strict=True):
        np.testing.assert_array_equal(clean, denoiser.denoise(image))


def test_a_pickle_opens_both_again(folder):
    denoiser = Denoiser(device="cpu", threads=1, tile_px=64)
    again = pickle.loads(pickle.dumps(denoiser))
    for channels in (1, 3):
        image = picture(channels, np.float32, (100, 150))
        expected = Denoiser(folder / f"{['gray', 'color'][channels // 2]}.onnx", "cpu", 1).denoise(image)
        np.testing.assert_allclose(again.denoise(image), expected, atol=1e-6)
        np.testing.assert_array_equal(again.denoise(image, strength=0), image)


def test_threads_that_need_the_second_at_once(folder):
    denoiser, images = Denoiser(device="cpu", threads=1), [picture(3, seed=seed) for seed in range(8)]
    start = threading.Barrier(8)

    def work(image):
        start.wait(timeout=30)
        return denoiser.denoise(image)

    with ThreadPoolExecutor(8) as pool:
        for image, clean in zip(images, pool.map(work, images), strict=True):
            np.testing.assert_array_equal(clean, image)
    assert [model.name for model in denoiser.models_used] == ["color"]


def test_a_forked_child_opens_the_second_for_itself(folder, run_python):
    code = f"""
import os, pathlib, sys, numpy as np
from dae_runtime import Denoiser
from dae_runtime.models import bundled
bundled.MODEL_FOLDER = pathlib.Path({str(folder)!r})
denoiser = Denoiser(device="cpu", threads=2)
gray, color = np.full((20, 30), 7, np.uint8), np.full((20, 30, 3), [9, 9, 8], np.uint8)
expected = denoiser.denoise(gray)
if os.fork() == 0:
    assert (denoiser.denoise(color) == color).all() and (denoiser.denoise(gray) == expected).all()
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.wait()[1]), (denoiser.denoise(color) == color).all())
"""
    result = run_python("-W", "ignore", "-c", code)
    assert result.stdout.split() == ["7", "True"], result.stderr


def test_closing_closes_both(folder):
    unused = Denoiser(device="cpu", threads=1)
    with Denoiser(device="cpu", threads=1) as used:
        used.denoise(picture(3))
    unused.close()
    for denoiser in (used, unused):
        for channels in (1, 3):
            with pytest.raises(DaeError, match="closed"):
                denoiser.denoise(picture(channels))


def test_both_share_a_memory_limit(folder):
    both, one = Denoiser(max_memory_mb=20), Denoiser("gray", max_memory_mb=20)
    both.denoise(picture(3))
    need = ENGINE_SHARE * 20 * 2**20
    networks = {both._opened(1), both._opened(3)}
    assert len(networks) == 2
    assert sum(network.limits.run_px for network in networks) * 256 <= need  # 256 bytes per pixel is the least that is assumed
    assert one._first.limits.run_px > both._first.limits.run_px
    with pytest.raises(InputError, match=r"at least [1-9]"):
        Denoiser(max_memory_mb=0)


@pytest.mark.parametrize("present", ["gray", "color"])
def test_one_alone_takes_all_images(folder, present):
    for name in {"gray", "color"} - {present}:
        (folder / f"{name}.onnx").unlink()
    denoiser, alone = Denoiser(device="cpu", threads=1), Denoiser(present, device="cpu", threads=1)
    for channels in (1, 2, 3, 4):
        np.testing.assert_array_equal(denoiser.denoise(picture(channels)), alone.denoise(picture(channels)))
    assert [model.name for model in denoiser.models_used] == [present]
    assert pickle.loads(pickle.dumps(denoiser)).model.name == present


def test_a_bundled_name_is_one_model_for_all_images(folder, blur):
    image = picture(3)
    np.testing.assert_array_equal(Denoiser("gray", "cpu", 1).denoise(image), blur.denoise(image))


def test_without_a_default_model_the_error_names_the_remedy(folder):
    (folder / "gray.onnx").rename(folder / "document.onnx")
    (folder / "color.onnx").unlink()
    with pytest.raises(ModelError, match=r"no default model \(gray or photo or color\).*path of an \.onnx file.*document"):
        Denoiser()


@pytest.mark.parametrize("model", [None, 3, ["gray"]])
def test_an_invalid_model_is_reported(model):
    with pytest.raises(InputError, match=r"must be the path .* received .* Leave it out"):
        Denoiser(model)
