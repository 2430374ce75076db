from __future__ import annotations

import hashlib
import threading
import time

import numpy as np
import pytest

from dae_runtime import Denoiser, MissingDependencyError
from dae_runtime.images import Image, read_image, write_image
from dae_runtime.jobs import worker as folder_worker
from dae_runtime.jobs.manifest import Manifest, Settings, file_sha256, file_stamp, read_manifest, remaining_jobs
from dae_runtime.jobs.plan import plan
from dae_runtime.jobs.run import run_jobs, threads_for
from dae_runtime.jobs.worker import JobOptions
from dae_runtime.system.threads import Gate


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
    results = list(run_jobs(blur, jobs, JobOptions(batch_size=batch_size)))
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
    results = list(run_jobs(blur, plan(tmp_path / "in", tmp_path / "out"), JobOptions(batch_size=4)))
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
    assert [result.error is None for result in run_jobs(blur, jobs, may_replace=lambda job: True)] == [True, False, True]


def test_a_file_in_the_way_of_a_folder(tmp_path, blur: Denoiser):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    write_image(tmp_path / "in" / "sub" / "a.png", Image(random_pixels((8, 8))))
    jobs = plan(tmp_path / "in", tmp_path / "out", recursive=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("")
    (result,) = run_jobs(blur, jobs)
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
    results = list(run_jobs(blur, jobs, JobOptions(with_references=True)))
    assert all(result.error is None for result in results)
    assert results[0].scores.denoised_psnr_db > results[0].scores.noisy_psnr_db + 2
    assert results[0].scores.denoised_ssim > results[0].scores.noisy_ssim
    assert results[0].reference_error is None
    for result, words in zip(results[1:], ("one picture", "c.png", "no reference"), strict=True):
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
    list(run_jobs(blur, jobs, JobOptions(strength=0.5)))
    for job in jobs:
        expected = blur.denoise(read_image(job.source).pixels, strength=0.5)
        np.testing.assert_array_equal(read_image(job.destination).pixels, expected)


def test_a_limit_of_pixels_fails_the_files_above_it(tmp_path, blur: Denoiser):
    results = list(run_jobs(blur, folder_of(tmp_path, [(9, 8), (9, 9)]), JobOptions(max_pixels=72)))
    assert results[0].error is None
    assert "more than the limit" in results[1].error


def test_cancel(tmp_path, blur: Denoiser):
    jobs = folder_of(tmp_path, [(300, 300, 3)] * 60)
    results = list(run_jobs(blur, jobs, cancel=lambda: len(list((tmp_path / "out").glob("*.png"))) >= 5))
    order = [jobs.index(result.job) for result in results]
    assert order == sorted(order)  # what was begun and not finished when the run was cancelled is left out
    assert 5 <= len(results) < 60
    assert sorted((tmp_path / "out").iterdir()) == [result.job.destination for result in results]


def test_a_step_for_each_tile(tmp_path, blur: Denoiser):
    counts = []
    for job in folder_of(tmp_path, [(700, 900), (60, 60)]):
        steps: list[None] = []
        list(run_jobs(blur, [job], step=lambda steps=steps: steps.append(None)))
        counts.append(len(steps))
    assert counts == [4, 1]  # two by two tiles of 512 pixels; the small image as a whole


@pytest.mark.parametrize(
    ("content", "name", "format", "loss"),
    [
        ("png", "a.jpg", None, True),
        ("tif", "a.webp", None, True),
        ("png", "a.jpg", "webp", False),  # asked for
        ("png", "a.png", "jpg", False),
        ("jpg", "a.png", None, False),
        ("jpg", "a.jpeg", None, False),
        ("png", "a.tif", None, False),
    ],
)
def test_a_loss_that_nobody_asked_for_is_told(tmp_path, blur: Denoiser, content, name, format, loss):
    (tmp_path / "in").mkdir()
    write_image(tmp_path / f"x.{content}", Image(random_pixels((8, 8))))
    (tmp_path / f"x.{content}").rename(tmp_path / "in" / name)
    (result,) = run_jobs(blur, plan(tmp_path / "in", tmp_path / "out", format=format))
    assert (result.error, result.unasked_loss) == (None, loss)


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


def test_a_manifest_is_written_while_the_run_goes_on(tmp_path, blur: Denoiser):
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
        entry = entries[str(job.source)]
        assert entry.output_sha256 == file_sha256(job.destination)
        assert (entry.status == "failed") == (job is jobs[3]) == (entry.error is not None)


def test_threads_for_a_number_of_files(monkeypatch):
    for cpus, files, threads in ((2, 1, None), (2, 2, 1), (2, 100, 1), (16, 100, 2), (16, 2, 8), (1, 5, 1)):
        monkeypatch.setattr("dae_runtime.jobs.run.available_cpus", lambda cpus=cpus: cpus)
        assert threads_for(files) == threads


def breaking(function, name, error):
    """Return a function that raises an error for the file of a name."""

    def broken(path, *arguments, **options):
        if path.name == name:
            raise error
        return function(path, *arguments, **options)

    return broken


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ZeroDivisionError("division by zero"), "unexpected ZeroDivisionError: division by zero"),
        (OverflowError(), "unexpected OverflowError"),
        (MemoryError(), "does not fit into memory"),
    ],
)
@pytest.mark.parametrize("function", ["read_image", "write_image"])
def test_an_error_that_nobody_foresaw_stays_its_files_own(tmp_path, blur: Denoiser, monkeypatch, function, error, words):
    jobs = folder_of(tmp_path, [(9, 8)] * 3)
    monkeypatch.setattr(folder_worker, function, breaking(getattr(folder_worker, function), "001.png", error))
    with Manifest(tmp_path / "m.jsonl", Settings("m")) as manifest:
        results = list(run_jobs(blur, jobs, manifest=manifest))
    assert [result.error is None for result in results] == [True, False, True]
    assert "001.png: " in results[1].error
    assert words in results[1].error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000.png", "002.png"]
    assert [entry.status for entry in read_manifest(tmp_path / "m.jsonl").values()] == ["done", "failed", "done"]


@pytest.mark.parametrize(
    ("error", "words"), [(MemoryError(), "does not fit into memory"), (IndexError("3"), "unexpected IndexError: 3")]
)
def test_a_comparison_that_fails_unforeseen(tmp_path, blur: Denoiser, monkeypatch, error, words):
    def score(*images):
        raise error

    monkeypatch.setattr(folder_worker, "score", score)
    folder_of(tmp_path, [(9, 8)])
    jobs = plan(tmp_path / "in", tmp_path / "out", reference=tmp_path / "in")
    (result,) = run_jobs(blur, jobs, JobOptions(with_references=True))
    assert result.error is None
    assert "000.png: cannot be compared: " in result.reference_error
    assert words in result.reference_error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MissingDependencyError])
@pytest.mark.parametrize("function", ["read_image", "write_image"])
def test_what_concerns_the_whole_run_ends_it(tmp_path, blur: Denoiser, monkeypatch, function, error):
    jobs = folder_of(tmp_path, [(9, 8)] * 3)
    monkeypatch.setattr(folder_worker, function, breaking(getattr(folder_worker, function), "001.png", error("now")))
    with pytest.raises(error, match="now"):
        list(run_jobs(blur, jobs))


def test_an_input_that_is_saved_anew_while_it_is_in_work_is_not_complete(tmp_path, blur: Denoiser):
    (job,) = jobs = folder_of(tmp_path, [(9, 8)])

    def step():
        write_image(job.source, Image(random_pixels((7, 6))))

    with Manifest(tmp_path / "m.jsonl", Settings("m")) as manifest:
        assert [result.error for result in run_jobs(blur, jobs, manifest=manifest, step=step)] == [None]
    assert remaining_jobs(jobs, read_manifest(tmp_path / "m.jsonl"), Settings("m")).complete == []


def test_a_choice_of_the_outputs_that_may_be_replaced(tmp_path, blur: Denoiser):
    jobs = folder_of(tmp_path, [(9, 8)] * 3)
    (tmp_path / "out").mkdir()
    for job in jobs[:2]:
        job.destination.write_text("there before")
    results = list(run_jobs(blur, jobs, may_replace=lambda job: job == jobs[0]))
    assert [result.error is None for result in results] == [True, False, True]
    assert jobs[1].destination.read_text() == "there before"
    assert [result.output_stamp for result in results] == [
        file_stamp(jobs[0].destination),
        None,
        file_stamp(jobs[2].destination),
    ]
