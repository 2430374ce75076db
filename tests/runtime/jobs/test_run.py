"""Many files through one denoiser: order, threads, memory, progress."""

from __future__ import annotations

import hashlib
import threading
import time

import numpy as np
import pytest

from builders import random_pixels
from dae_runtime import Denoiser
from dae_runtime.engine import stopping
from dae_runtime.images import Image, read_image, write_image
from dae_runtime.inference.controls import Controls
from dae_runtime.jobs.local import file_sha256
from dae_runtime.jobs.manifest import Manifest, Settings, read_manifest
from dae_runtime.jobs.plan import plan
from dae_runtime.jobs.run import run_jobs, threads_for
from dae_runtime.jobs.worker import JobOptions
from dae_runtime.system.threads import Gate


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
    results = list(run_jobs(blur, jobs, JobOptions(batch_size=batch_size)))
    assert [result.job for result in results] == jobs
    assert all(result.error is None and result.seconds > 0 for result in results)
    for name, pixels in sources.items():
        written = read_image(tmp_path / "out" / name).pixels
        assert written.dtype == pixels.dtype
        np.testing.assert_array_equal(written, blur.denoise(pixels))
    assert digests(tmp_path / "in") == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(sources)


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
    results = list(run_jobs(blur, jobs, JobOptions(with_references=True)))
    assert all(result.error is None for result in results)
    assert results[0].scores.denoised_psnr_db > results[0].scores.noisy_psnr_db + 2
    assert results[0].scores.denoised_ssim > results[0].scores.noisy_ssim
    assert results[0].reference_error is None
    for result, words in zip(results[1:], ("the same image", "c.png", "no reference"), strict=True):
        assert result.scores is None
        assert words in result.reference_error


def folder_of(tmp_path, shapes):
    (tmp_path / "in").mkdir()
    for index, shape in enumerate(shapes):
        write_image(tmp_path / "in" / f"{index:03}.png", Image(random_pixels(shape, seed=index)))
    return plan(tmp_path / "in", tmp_path / "out")


def test_pages_are_denoised_one_by_one(tmp_path, blur: Denoiser):
    (tmp_path / "in").mkdir()
    pages = random_pixels((3, 9, 8), np.uint16)
    write_image(tmp_path / "in" / "a.tif", Image(pages.reshape(27, 8), pages=3))
    write_image(tmp_path / "in" / "b.tif", Image(pages[0]))
    results = list(run_jobs(blur, plan(tmp_path / "in", tmp_path / "out")))
    assert [result.error for result in results] == [None, None]
    written = read_image(tmp_path / "out" / "a.tif")
    assert written.pages == 3
    np.testing.assert_array_equal(written.page_pixels, blur.denoise(pages[..., None]))


def test_strength(tmp_path, blur: Denoiser):
    jobs = folder_of(tmp_path, [(9, 8), (9, 8, 3)])
    list(run_jobs(blur, jobs, JobOptions(controls=Controls(strength=0.5))))
    for job in jobs:
        expected = blur.denoise(read_image(job.source).pixels, strength=0.5)
        np.testing.assert_array_equal(read_image(job.destination).pixels, expected)


def test_a_limit_of_pixels_fails_the_files_above_it(tmp_path, blur: Denoiser):
    results = list(run_jobs(blur, folder_of(tmp_path, [(9, 8), (9, 9)]), JobOptions(max_pixels=72)))
    assert results[0].error is None
    assert "exceed the limit" in results[1].error


def test_cancel(tmp_path, blur: Denoiser):
    jobs = folder_of(tmp_path, [(300, 300, 3)] * 60)
    results = list(run_jobs(blur, jobs, cancel=lambda: len(list((tmp_path / "out").glob("*.png"))) >= 5))
    order = [jobs.index(result.job) for result in results]
    assert order == sorted(order)  # unfinished files of a cancelled run have no result
    assert 5 <= len(results) < 60
    assert sorted((tmp_path / "out").iterdir()) == [result.job.destination for result in results]


@pytest.mark.parametrize("poll_s", [stopping.POLL_S, 0])
def test_a_step_for_each_tile_however_often_a_run_is_asked_about(tmp_path, blur: Denoiser, monkeypatch, poll_s):
    monkeypatch.setattr(stopping, "POLL_S", poll_s)
    counts = []
    for job in folder_of(tmp_path, [(700, 900), (60, 60)]):
        steps: list[None] = []
        list(run_jobs(blur, [job], step=lambda steps=steps: steps.append(None)))
        counts.append(len(steps))
    assert counts == [4, 1]  # two by two tiles of 512 pixels; the small image as a whole


def test_fail_fast_begins_no_other_file(tmp_path, blur: Denoiser):
    jobs = folder_of(tmp_path, [(300, 300, 3)] * 60)
    jobs[1].source.write_text("text")
    results = list(run_jobs(blur, jobs, JobOptions(fail_fast=True)))
    assert [result.job for result in results if result.error] == [jobs[1]]
    assert len(list((tmp_path / "out").glob("*"))) < 30


def test_leaving_a_run_early_leaves_whole_files_and_no_threads(tmp_path, blur: Denoiser):
    before = threading.active_count()
    results = run_jobs(blur, folder_of(tmp_path, [(300, 300, 3)] * 40))
    next(results)
    results.close()
    assert threading.active_count() == before
    for path in (tmp_path / "out").iterdir():
        assert read_image(path).pixels.shape == (300, 300, 3)


def test_several_images_are_denoised_at_once_if_the_threads_allow(tmp_path, blur_bytes, monkeypatch):
    monkeypatch.setattr("dae_runtime.jobs.run.available_cpus", lambda: 3)
    jobs = folder_of(tmp_path, [(200, 200, 3)] * 12)
    for threads, most in ((1, 3), (3, 1)):
        denoiser = Denoiser(blur_bytes, "cpu", threads)
        denoiser.denoise, peak = count_calls(denoiser.denoise)
        assert not any(result.error for result in run_jobs(denoiser, jobs, may_replace=lambda job: True))
        assert peak() == most


def count_calls(function):
    """Return a function that takes its time, and one that tells how many calls of it ran at once at most."""
    lock, running, most = threading.Lock(), 0, 0

    def counted(*arguments, **options):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        result = function(*arguments, **options)
        with lock:
            running -= 1
        return result

    return counted, lambda: most


def test_a_memory_limit_keeps_few_images_at_once(tmp_path, blur_bytes, monkeypatch):
    denoiser = Denoiser(blur_bytes, "cpu", 1, max_memory_mb=40)
    held, most = 0, 0

    def count(change):
        nonlocal held, most
        held += change
        most = max(most, held)

    real_enter, real_leave = Gate.enter, Gate.leave
    amounts = threading.local()

    def enter(gate, amount, stop):
        real_enter(gate, amount, stop)
        amounts.held = getattr(amounts, "held", 0) + amount
        count(amount)

    def leave(gate):
        count(-getattr(amounts, "held", 0))
        amounts.held = 0
        real_leave(gate)

    monkeypatch.setattr(Gate, "enter", enter)
    monkeypatch.setattr(Gate, "leave", leave)
    jobs = folder_of(tmp_path, [(1500, 2000, 3)] * 6)  # 9 MB each, and as much for the result
    assert not any(result.error for result in run_jobs(denoiser, jobs, JobOptions(max_memory_mb=40)))
    assert 0 < most <= 0.6 * 40 * 2**20


def test_a_manifest_is_written_during_the_run(tmp_path, blur: Denoiser):
    jobs = folder_of(tmp_path, [(200, 200, 3)] * 30)
    jobs[3].source.write_text("text")
    with Manifest(tmp_path / "m.jsonl", Settings("00" * 32)) as manifest:
        results = run_jobs(blur, jobs, manifest=manifest)
        next(results)
        assert 0 < len(read_manifest(tmp_path / "m.jsonl")) < 30
        list(results)
    entries = read_manifest(tmp_path / "m.jsonl")
    assert len(entries) == 30
    for job in jobs:
        entry = entries[str(job.destination)]
        assert entry.output_sha256 == file_sha256(job.destination)
        assert (entry.status == "failed") == (job == jobs[3]) == (entry.error is not None)


def test_threads_for_a_number_of_files(monkeypatch):
    for cpus, files, threads in ((2, 1, None), (2, 2, 1), (2, 100, 1), (16, 100, 2), (16, 2, 8), (1, 5, 1)):
        monkeypatch.setattr("dae_runtime.jobs.run.available_cpus", lambda cpus=cpus: cpus)
        assert threads_for(files) == threads
