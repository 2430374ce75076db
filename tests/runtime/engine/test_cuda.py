"""A GPU computes what the CPU computes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

from dae_runtime import Denoiser, DeviceError
from dae_runtime.diagnosis.self_test import self_test
from dae_runtime.engine.devices import cuda_obstacle

NO_GPU = cuda_obstacle(onnxruntime)
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(NO_GPU is not None, reason=f"needs a GPU: {NO_GPU}")]


def test_cuda_gives_the_pixels_of_the_cpu(blur_bytes):
    gpu, cpu = Denoiser(blur_bytes, "cuda"), Denoiser(blur_bytes, "cpu")
    assert gpu.device == "cuda:0"
    assert Denoiser(blur_bytes, "auto").device == "cuda:0"
    image = np.random.default_rng(0).integers(0, 256, (50, 61, 3)).astype(np.uint8)
    assert np.abs(gpu.denoise(image).astype(int) - cpu.denoise(image)).max() <= 1
    assert self_test(gpu).passed


@pytest.mark.parametrize("settings", [{"io_dtype": "uint8"}, {"size": (28, 28)}, {"channels": 3}, {"gain": 8.0}], ids=str)
def test_cuda_runs_every_kind_of_model(make_model, settings):
    content = make_model(**settings)
    gpu, cpu = Denoiser(content, "cuda", max_memory_mb=2000), Denoiser(content, "cpu")
    assert self_test(gpu).passed
    images = [np.random.default_rng(n).integers(0, 256, (50, 60 + n % 2, 3)).astype(np.uint8) for n in range(6)]
    for image, clean in zip(images, gpu.stream(images), strict=True):
        assert np.abs(clean.astype(int) - cpu.denoise(image)).max() <= 1


def test_cuda_in_tiles_and_without_numbers(make_model, blur_bytes):
    image = np.random.default_rng(0).random((500, 700), np.float32)
    whole, tiled = Denoiser(blur_bytes, "cuda").denoise(image), Denoiser(blur_bytes, "cuda", tile_px=128).denoise(image)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
    with pytest.raises(DeviceError, match=r"cuda:0 does not compute .* largest error nan"):  # its golden sample is replayed
        Denoiser(make_model(np.full((3, 3), np.nan, np.float32)), "cuda")


def test_cuda_with_many_sizes_and_threads(blur_bytes):
    gpu, cpu = Denoiser(blur_bytes, "cuda"), Denoiser(blur_bytes, "cpu")
    images = [np.random.default_rng(n).integers(0, 256, (40 + n % 7, 61, 3)).astype(np.uint8) for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for image, clean in zip(images, pool.map(gpu.denoise, images), strict=True):
            assert np.abs(clean.astype(int) - cpu.denoise(image)).max() <= 1


def test_cuda_after_fork_is_refused(blur_file, run_python):
    code = (
        "import os, numpy as np; from dae_runtime import Denoiser, DeviceError\n"
        f"d = Denoiser({str(blur_file)!r}, 'cuda'); x = np.zeros((8, 8), np.uint8); d.denoise(x)\n"
        "if os.fork() == 0:\n try: d.denoise(x)\n except DeviceError as e: print(e, flush=True)\nelse: os.wait()"
    )
    assert "does not survive fork" in run_python("-c", code).stdout


def test_a_cuda_device_that_is_not_there(blur_bytes):
    with pytest.raises(DeviceError, match="cuda:99"):
        Denoiser(blur_bytes, "cuda:99")
