"""Files that fail or change during a run: each keeps its place, and the run continues."""

from __future__ import annotations

import pytest

from builders import random_pixels
from dae_runtime import Denoiser, MissingDependencyError
from dae_runtime.images import Image, write_image
from dae_runtime.jobs import local, losses
from dae_runtime.jobs.local import file_stamp
from dae_runtime.jobs.manifest import Manifest, Settings, read_manifest
from dae_runtime.jobs.plan import plan
from dae_runtime.jobs.remaining import remaining_jobs
from dae_runtime.jobs.run import run_jobs
from dae_runtime.jobs.worker import JobOptions

PLACES = {"read_image": local, "save_image": local}


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
    (tmp_path / "out" / "a.jpg").write_text("another program's")
    (tmp_path / "out" / "b.jpg").mkdir()
    results = list(run_jobs(blur, jobs))
    assert [result.error is None for result in results] == [False, False, True]
    assert "exists" in results[0].error
    assert (tmp_path / "out" / "a.jpg").read_text() == "another program's"
    assert [result.error is None for result in run_jobs(blur, jobs, may_replace=lambda job: True)] == [True, False, True]


def test_a_file_in_the_way_of_a_folder(tmp_path, blur: Denoiser):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    write_image(tmp_path / "in" / "sub" / "a.png", Image(random_pixels((8, 8))))
    jobs = plan(tmp_path / "in", tmp_path / "out", recursive=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("")
    (result,) = run_jobs(blur, jobs)
    assert "folder cannot be created" in result.error


def folder_of(tmp_path, shapes):
    (tmp_path / "in").mkdir()
    for index, shape in enumerate(shapes):
        write_image(tmp_path / "in" / f"{index:03}.png", Image(random_pixels(shape, seed=index)))
    return plan(tmp_path / "in", tmp_path / "out")


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
def test_an_unrequested_loss_is_reported(tmp_path, blur: Denoiser, content, name, format, loss):
    (tmp_path / "in").mkdir()
    write_image(tmp_path / f"x.{content}", Image(random_pixels((8, 8))))
    (tmp_path / f"x.{content}").rename(tmp_path / "in" / name)
    (result,) = run_jobs(blur, plan(tmp_path / "in", tmp_path / "out", format=format))
    assert (result.error, result.unasked_loss) == (None, loss)


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
@pytest.mark.parametrize("function", ["read_image", "save_image"])
def test_an_unexpected_error_fails_only_its_file(tmp_path, blur: Denoiser, monkeypatch, function, error, words):
    jobs = folder_of(tmp_path, [(9, 8)] * 3)
    monkeypatch.setattr(PLACES[function], function, breaking(getattr(PLACES[function], function), "001.png", error))
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

    monkeypatch.setattr(losses, "score", score)
    folder_of(tmp_path, [(9, 8)])
    jobs = plan(tmp_path / "in", tmp_path / "out", reference=tmp_path / "in")
    (result,) = run_jobs(blur, jobs, JobOptions(with_references=True))
    assert result.error is None
    assert "000.png: cannot be compared: " in result.reference_error
    assert words in result.reference_error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MissingDependencyError])
@pytest.mark.parametrize("function", ["read_image", "save_image"])
def test_what_concerns_the_whole_run_ends_it(tmp_path, blur: Denoiser, monkeypatch, function, error):
    jobs = folder_of(tmp_path, [(9, 8)] * 3)
    monkeypatch.setattr(PLACES[function], function, breaking(getattr(PLACES[function], function), "001.png", error("now")))
    with pytest.raises(error, match="now"):
        list(run_jobs(blur, jobs))


def test_an_input_saved_during_its_processing_is_not_complete(tmp_path, blur: Denoiser):
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
