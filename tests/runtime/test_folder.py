from __future__ import annotations

import hashlib

import numpy as np
import pytest

from dae_runtime import Denoiser
from dae_runtime.folder import run_jobs
from dae_runtime.images import Image, read_image, write_image
from dae_runtime.plan import plan


def random_pixels(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def digests(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_every_output_is_what_the_denoiser_gives(tmp_path, blur: Denoiser, batch_size):
    (tmp_path / "in").mkdir()
    sources = {}
    for index, shape in enumerate([(9, 8), (9, 8), (5, 3, 3), (9, 8), (6, 6, 4), (1, 1), (6, 6, 2)]):
        sources[f"{index}.png"] = random_pixels(shape, np.uint16 if index % 2 else np.uint8, index)
        write_image(tmp_path / "in" / f"{index}.png", Image(sources[f"{index}.png"]))
    before = digests(tmp_path / "in")
    jobs = plan(tmp_path / "in", tmp_path / "out")
    results = list(run_jobs(blur, jobs, batch_size=batch_size))
    assert [result.job for result in results] == jobs
    assert all(result.error is None and result.seconds > 0 for result in results)
    for name, pixels in sources.items():
        written = read_image(tmp_path / "out" / name).pixels
        assert written.dtype == pixels.dtype
        np.testing.assert_array_equal(written, blur.denoise(pixels))
    assert digests(tmp_path / "in") == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(sources)


def test_bad_files_keep_their_place_and_stop_nothing(tmp_path, blur: Denoiser):
    (tmp_path / "in").mkdir()
    for name in "abcdef":
        write_image(tmp_path / "in" / f"{name}.png", Image(random_pixels((8, 8))))
    (tmp_path / "in" / "a.png").write_bytes(b"")
    (tmp_path / "in" / "c.png").write_text("text")
    (tmp_path / "in" / "f.png").write_bytes((tmp_path / "in" / "e.png").read_bytes()[:60])
    results = list(run_jobs(blur, plan(tmp_path / "in", tmp_path / "out"), batch_size=4))
    assert [result.error is None for result in results] == [False, True, False, True, True, False]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.png", "d.png", "e.png"]
    for result in results:
        assert result.error is None or str(result.job.source) in result.error


def test_an_image_that_the_engine_refuses_fails_alone(tmp_path, make_model):
    # The contract claims alignment 1, the graph needs 4: the second size fails in the engine.
    denoiser = Denoiser(make_model(alignment=4, alignment_px=1), "cpu")
    (tmp_path / "in").mkdir()
    for name, side in (("a", 8), ("b", 7), ("c", 8)):
        write_image(tmp_path / "in" / f"{name}.png", Image(random_pixels((side, side))))
    results = list(run_jobs(denoiser, plan(tmp_path / "in", tmp_path / "out")))
    assert [result.error is None for result in results] == [True, False, True]
    assert "(1, 7, 7, 1)" in results[1].error


def test_outputs_that_appear_or_cannot_be_written(tmp_path, blur: Denoiser):
    (tmp_path / "in").mkdir()
    for name in "abc":
        write_image(tmp_path / "in" / f"{name}.png", Image(random_pixels((8, 8))))
    jobs = plan(tmp_path / "in", tmp_path / "out", format="jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jpg").write_text("somebody else's")
    (tmp_path / "out" / "b.jpg").mkdir()
    results = list(run_jobs(blur, jobs))
    assert [result.error is None for result in results] == [False, False, True]
    assert "exists" in results[0].error
    assert (tmp_path / "out" / "a.jpg").read_text() == "somebody else's"
    assert [result.error is None for result in run_jobs(blur, jobs, overwrite=True)] == [True, False, True]


def test_a_file_in_the_way_of_a_folder(tmp_path, blur: Denoiser):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    write_image(tmp_path / "in" / "sub" / "a.png", Image(random_pixels((8, 8))))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("")
    (result,) = run_jobs(blur, plan(tmp_path / "in", tmp_path / "out", recursive=True))
    assert "folder cannot be made" in result.error


def test_references(tmp_path, blur: Denoiser):
    for folder in ("in", "clean"):
        (tmp_path / folder).mkdir()
    clean = np.full((32, 32), 128, np.uint8)
    noisy = (clean + np.random.default_rng(0).normal(0, 20, clean.shape)).clip(0, 255).astype(np.uint8)
    for name in "abcd":
        write_image(tmp_path / "in" / f"{name}.png", Image(noisy))
    write_image(tmp_path / "clean" / "a.tif", Image(clean))
    write_image(tmp_path / "clean" / "b.png", Image(clean[:16]))
    (tmp_path / "clean" / "c.png").write_text("text")
    jobs = plan(tmp_path / "in", tmp_path / "out", reference=tmp_path / "clean")
    results = list(run_jobs(blur, jobs, with_references=True))
    assert all(result.error is None for result in results)
    assert results[0].scores.denoised_psnr_db > results[0].scores.noisy_psnr_db + 2
    assert results[0].scores.denoised_ssim > results[0].scores.noisy_ssim
    assert results[0].reference_error is None
    for result, words in zip(results[1:], ("one picture", "c.png", "no reference"), strict=True):
        assert result.scores is None
        assert words in result.reference_error
