"""Limits of memory: from the size of an image to that of a run, and what happens when even that is too much."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import pickle
import re
import tracemalloc

import numpy as np
import pytest

from builders import make_hourglass
from dae_runtime import Denoiser, DeviceError, InputError
from dae_runtime.inference import limits as memory
from dae_runtime.inference.limits import Limits, bytes_per_pixel, is_shortage, memory_limits


@pytest.mark.parametrize(
    ("options", "words"),
    [({"tile_px": 16}, "needs at least 32"), ({"max_memory_mb": 0}, "at least [1-9]"), ({"tile_px": -1}, "from 0 to 65536")],
)
def test_invalid_limits_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        Denoiser(make_hourglass("fp32"), "cpu", 1, **options)


def test_a_memory_limit_decides_the_tile(monkeypatch):
    denoiser = Denoiser(make_hourglass("fp32"), "cpu", 1, max_memory_mb=20)
    need = bytes_per_pixel(lambda pixels: pixels, 1024, 2**23)
    limits = memory_limits(denoiser.model.images, Limits(2**18, 512, 2**19), need, 20)
    assert limits.run_px * need <= 0.4 * 20 * 2**20
    assert limits.tile_px**2 <= limits.run_px
    image = np.random.default_rng(1).random((500, 700), np.float32)
    np.testing.assert_allclose(denoiser.denoise(image), Denoiser(make_hourglass("fp32"), "cpu", 1).denoise(image), atol=1e-6)


class _Broken:
    """An engine whose memory ends at a number of pixels; the text is onnxruntime's."""

    def __init__(self, denoiser: Denoiser, most_px: int) -> None:
        self.run, self.most_px = denoiser._first._run, most_px

    def __call__(self, batch, sigma=None, **options):
        if batch[..., 0].size > self.most_px:
            cause = RuntimeError(
                "[ONNXRuntimeError] : 6 : bfc_arena.cc Failed to allocate memory for requested buffer of size 9"
            )
            raise DeviceError("onnxruntime failed") from cause
        return self.run(batch, sigma, **options)


def test_a_shortage_halves_the_tile_and_continues(caplog):
    denoiser = Denoiser(make_hourglass("int8"), "cpu", 1)
    image = np.random.default_rng(1).random((900, 900), np.float32)
    expected = denoiser.denoise(image)
    denoiser._first._run = _Broken(denoiser, 200**2)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(denoiser.denoise(image), expected)
    assert [record.getMessage().split()[-2] for record in caplog.records] == ["256", "128"]
    assert denoiser.denoise(image[:300]).shape == (300, 900)  # without another failure
    assert len(caplog.records) == 2
    denoiser._first._run = _Broken(denoiser, 10)
    with pytest.raises(DeviceError):
        denoiser.denoise(image)


def test_a_shortage_of_a_model_that_cannot_be_tiled_says_so():
    denoiser = Denoiser(make_hourglass("fp32", halo_px=None), "cpu", 1)
    denoiser._first._run = _Broken(denoiser, 10)
    with pytest.raises(DeviceError, match="smaller images"):
        denoiser.denoise(np.zeros((100, 100), np.uint8))


@pytest.mark.slow
def test_real_shortage_under_an_address_space_limit(tmp_path, run_python):
    """A process that may grow by 60 MiB finishes an image whose run would need more at once."""
    (tmp_path / "net.onnx").write_bytes(make_hourglass("fp32"))
    code = (
        "import logging, resource, sys, numpy as np\n"
        "from dae_runtime import Denoiser\n"
        "logging.basicConfig()\n"
        f"denoiser = Denoiser({str(tmp_path / 'net.onnx')!r}, 'cpu', 1, tile_px=1536)\n"
        "image = np.random.default_rng(0).random((1536, 1600), np.float32)\n"
        "denoiser.denoise(image[:64, :64])\n"
        "size = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size + 60 * 2**20,) * 2)\n"
        "clean = denoiser.denoise(image)\n"
        "print(float(clean.mean()), denoiser._first.limits.tile_px)"
    )
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr
    mean, tile = result.stdout.split()
    assert int(tile) < 1536
    assert "out of memory" in result.stderr
    image = np.random.default_rng(0).random((1536, 1600), np.float32)
    assert float(mean) == pytest.approx(Denoiser(make_hourglass("fp32"), "cpu", 2).denoise(image).mean(), abs=1e-6)


def test_what_counts_as_a_shortage():
    assert is_shortage(MemoryError())
    for text in ("std::bad_alloc", "CUDA failure 2: out of memory", "Failed to allocate memory for requested buffer"):
        error = DeviceError("failed. If memory ran out, give smaller images.")
        error.__cause__ = RuntimeError(text)
        assert is_shortage(error)
    error = DeviceError("failed. If memory ran out, give smaller images.")
    error.__cause__ = RuntimeError("Non-zero status code returned while running Conv node: shapes differ")
    assert not is_shortage(error)


def test_limits_shrink_to_the_smallest_tile_and_end_there():
    limits = Limits(2**18, 512, 2**19)
    sides = []
    while limits := limits.halved(64):
        sides.append(limits.tile_px)
    assert sides == [256, 128, 64]
    assert dataclasses.asdict(Limits(100, None, 5)) == {"run_px": 100, "tile_px": None, "tile_above_px": 5}
    assert list(itertools.pairwise(sides)) == [(256, 128), (128, 64)]


@pytest.mark.parametrize("ensemble", [1, 8])
def test_tiles_need_no_memory_for_the_whole_image_in_float(blur_bytes, ensemble):
    denoiser = Denoiser(blur_bytes, "cpu", 1, max_memory_mb=20)
    image = np.random.default_rng(0).integers(0, 256, (3000, 3000), np.uint8)
    tracemalloc.start()
    denoiser.denoise(image, ensemble=ensemble)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < image.nbytes + 4 * 2**20


@pytest.mark.parametrize("size", [None, (28, 28), (600, 600)])
def test_the_least_memory_that_would_do_is_named_and_does(make_model, size):
    content = make_model(size=size)
    with pytest.raises(InputError, match=r"at least [1-9]\d* for this model, not 0") as caught:
        Denoiser(content, "cpu", 1, max_memory_mb=0)
    least = int(re.search(r"at least (\d+)", str(caught.value))[1])
    denoiser = Denoiser(content, "cpu", 1, max_memory_mb=least)
    assert denoiser.denoise(np.zeros((50, 70), np.uint8)).shape == (50, 70)


def test_measuring_stays_within_the_memory_it_is_for(monkeypatch):
    """An engine of 100 KiB and 1000 bytes per pixel."""
    held, runs = [0], []

    def run(pixels: int) -> int:
        runs.append(pixels)
        held[0] = max(held[0], 100 * 2**10 + 1000 * pixels)
        return pixels

    monkeypatch.setattr(memory, "resident_bytes", lambda: held[0])
    for budget in (2 * 2**20, 8 * 2**20, 2**30):
        held[0] = 0
        runs.clear()
        need = bytes_per_pixel(run, 1024, budget)
        assert 1000 <= need <= 1100
        assert held[0] <= budget
        assert max(runs) <= memory.PROBE_PX
    monkeypatch.setattr(memory, "resident_bytes", lambda: None)
    assert bytes_per_pixel(run, 1024, 2**20) == memory.UNMEASURED_BYTES_PER_PIXEL


def test_limits_survive_pickling():
    denoiser = Denoiser(make_hourglass("fp32"), "cpu", 1, tile_px=64)
    assert pickle.loads(pickle.dumps(denoiser))._first.limits == denoiser._first.limits
