"""The same request again: what is whole is kept, the rest is done, and nothing of others is replaced."""

from __future__ import annotations

import errno
import logging
import os
import re
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builders import random_pixels
from dae_runtime import DaeError, FolderRequest, OutputExistsError, run_folder
from dae_runtime.folders import open_run, plan_request
from dae_runtime.images import Image, read_image, write_image
from dae_runtime.jobs.manifest import read_manifest

MANIFEST = "dae-manifest.jsonl"


@pytest.fixture
def request_(tmp_path: Path) -> FolderRequest:
    fill(tmp_path / "in", 3)
    return FolderRequest(tmp_path / "in", tmp_path / "out")


def fill(folder: Path, count: int, start: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        write_image(folder / f"{number}.png", Image(random_pixels((12, 10, 3), seed=number)))


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def counts(outcome) -> tuple[int, int, int]:
    return outcome.done, outcome.skipped, outcome.failed


def test_only_what_is_new_or_has_changed_is_done(tmp_path, denoiser, request_):
    assert counts(run_folder(request_, denoiser)) == (3, 0, 0)
    before = contents(tmp_path / "out")
    assert counts(run_folder(request_, denoiser)) == (0, 3, 0)
    assert contents(tmp_path / "out") == before
    fill(tmp_path / "in", 2, start=3)
    write_image(tmp_path / "in" / "1.png", Image(random_pixels((9, 9, 3), seed=77)))
    assert counts(run_folder(request_, denoiser)) == (3, 2, 0)
    expected = denoiser.denoise(read_image(tmp_path / "in" / "1.png").pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "1.png").pixels, expected)


def test_what_failed_is_tried_again(tmp_path, denoiser, request_):
    whole = (tmp_path / "in" / "1.png").read_bytes()
    (tmp_path / "in" / "1.png").write_bytes(whole[:60])
    assert counts(run_folder(request_, denoiser)) == (2, 0, 1)
    assert counts(run_folder(request_, denoiser)) == (0, 2, 1)
    assert counts(run_folder(replace(request_, resume=True), denoiser)) == (0, 2, 1)
    (tmp_path / "in" / "1.png").write_bytes(whole)
    assert counts(run_folder(request_, denoiser)) == (1, 2, 0)


def test_an_output_that_was_retouched_is_kept_and_the_rest_is_done(tmp_path, denoiser, request_):
    run_folder(request_, denoiser)
    made = contents(tmp_path / "out")
    write_image(tmp_path / "out" / "1.png", Image(random_pixels((4, 4), seed=9)))
    retouched = (tmp_path / "out" / "1.png").read_bytes()
    (tmp_path / "out" / "2.png").write_bytes(made["2.png"][:50])  # damaged: no image any more
    fill(tmp_path / "in", 1, start=3)
    outcome = run_folder(request_, denoiser)
    assert counts(outcome) == (2, 2, 0)
    assert outcome.edited == (tmp_path / "out" / "1.png",)
    assert (tmp_path / "out" / "1.png").read_bytes() == retouched
    assert contents(tmp_path / "out")["2.png"] == made["2.png"]
    again = run_folder(replace(request_, overwrite=True), denoiser)
    assert (counts(again), again.edited) == ((4, 0, 0), ())
    assert contents(tmp_path / "out")["1.png"] == made["1.png"]


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("broken", [False, True])
def test_an_output_of_a_person_whose_input_is_new_fails_alone(tmp_path, denoiser, request_, resume, broken):
    """Retouched since, or put where the run before had failed; the rest is done, now and again."""
    if broken:
        (tmp_path / "in" / "1.png").write_bytes(b"\x89PNG")
    request = replace(request_, resume=resume)
    run_folder(request, denoiser)
    for folder, seed in (("in", 5), ("out", 6)):
        write_image(tmp_path / folder / "1.png", Image(random_pixels((4, 4), seed=seed)))
    persons = (tmp_path / "out" / "1.png").read_bytes()
    for new in (3, 4):
        fill(tmp_path / "in", 1, start=new)
        outcome = run_folder(request, denoiser)
        assert counts(outcome) == (1, new - 1, 1)
        (failure,) = outcome.failures
        assert failure.source == tmp_path / "in" / "1.png"
        assert failure.reason.startswith(f"{tmp_path}/out/1.png: was changed since it was written, or is another program's")
        assert "--overwrite" in failure.reason
        assert (tmp_path / "out" / "1.png").read_bytes() == persons
    assert counts(run_folder(replace(request, resume=True, overwrite=True), denoiser)) == (1, 4, 0)
    expected = denoiser.denoise(read_image(tmp_path / "in" / "1.png").pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "1.png").pixels, expected)


def test_an_output_of_a_person_ends_a_run_that_is_to_fail_fast(tmp_path, denoiser, request_):
    run_folder(request_, denoiser)
    for folder, seed in (("in", 5), ("out", 6)):
        write_image(tmp_path / folder / "1.png", Image(random_pixels((4, 4), seed=seed)))
    fill(tmp_path / "in", 1, start=3)
    outcome = run_folder(replace(request_, fail_fast=True), denoiser)
    assert (counts(outcome), (tmp_path / "out" / "3.png").exists()) == ((0, 2, 1), False)


def test_other_settings_are_refused_with_the_remedy(tmp_path, denoiser, request_):
    run_folder(request_, denoiser)
    fill(tmp_path / "in", 1, start=3)
    before = contents(tmp_path / "out")
    with pytest.raises(OutputExistsError, match=r"3 outputs .*strength 1 instead of 0\.5.*--overwrite, or give another"):
        run_folder(replace(request_, strength=0.5), denoiser)
    assert contents(tmp_path / "out") == before
    cut, first = threading.Event(), replace(request_, strength=0.5, overwrite=True, batch_size=1)
    done = run_folder(first, denoiser, progress=lambda *_: cut.set(), cancel=cut.is_set).done
    rest = run_folder(replace(first, resume=True), denoiser)
    assert counts(rest) == (4 - done, done, 0)  # with --resume only those of other settings are replaced


def test_a_quality_is_a_setting(tmp_path, denoiser, request_):
    sizes = []
    for quality in (30, 90):
        request = replace(request_, format="jpg", quality=quality)
        if sizes:
            with pytest.raises(OutputExistsError, match="quality 30 instead of 90"):
                run_folder(request, denoiser)
        run_folder(replace(request, overwrite=True), denoiser)
        sizes.append(sum(map(len, contents(tmp_path / "out").values())))
        assert counts(run_folder(request, denoiser)) == (0, 3, 0)
    assert sizes[0] < sizes[1]


def test_two_formats_of_one_folder_lie_side_by_side(tmp_path, denoiser, request_):
    other = replace(request_, format="tif", strength=0.5)
    for done, skipped in ((3, 0), (0, 3)):
        for each in (request_, other):
            assert counts(run_folder(each, denoiser)) == (done, skipped, 0)


@pytest.mark.parametrize("recursive", [False, True])
def test_inputs_within_the_output_folder(tmp_path, denoiser, recursive):
    """The manifest lies beside the inputs, and is no image."""
    fill(tmp_path / "in" / "sub", 2)
    fill(tmp_path / "in", 2, start=2)
    request = FolderRequest(tmp_path / "in", tmp_path, recursive=recursive)
    for done in (True, False):
        count = 4 if recursive else 2
        assert counts(run_folder(request, denoiser)) == ((count, 0, 0) if done else (0, count, 0))
    assert (tmp_path / MANIFEST).is_file()
    second = run_folder(FolderRequest(tmp_path / "*", tmp_path / "next"), denoiser)
    assert second.done == 2


def test_a_named_manifest_continues_and_may_be_shared(tmp_path, denoiser, request_):
    shared = tmp_path / "all.jsonl"
    fill(tmp_path / "two", 3)
    first = replace(request_, manifest=shared, batch_size=1)
    second = replace(first, source=tmp_path / "two", output=tmp_path / "out2")
    found = []
    run_folder(first, denoiser, progress=lambda *_: found or found.append(run_folder(second, denoiser)))
    assert counts(found[0]) == (3, 0, 0)
    assert [counts(run_folder(each, denoiser)) for each in (first, second)] == [(0, 3, 0)] * 2
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_a_run_without_outputs_leaves_nothing(tmp_path, denoiser, request_):
    for path in (tmp_path / "in").iterdir():
        path.write_text("text")
    assert counts(run_folder(request_, denoiser)) == (0, 0, 3)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["clean.png", "out/"])
def test_a_single_file_has_no_manifest(tmp_path, denoiser, request_, output):
    request = FolderRequest(tmp_path / "in" / "0.png", f"{tmp_path}/{output}")
    assert run_folder(request, denoiser).manifest is None
    assert list(tmp_path.rglob(MANIFEST)) == []
    with pytest.raises(OutputExistsError, match="1 output exists already"):
        run_folder(request, denoiser)


def test_two_runs_at_once(tmp_path, denoiser, request_):
    """The second is refused when it is planned; of two that begin at once, at its first output."""
    request = replace(request_, batch_size=1)
    early = plan_request(request, lambda: denoiser.sources)
    early.check()
    refused: list[str] = []

    def second(*_):
        with pytest.raises(DaeError) as caught:
            run_folder(request, denoiser)
        refused.append(str(caught.value))

    with open_run(early, denoiser) as late:
        assert counts(run_folder(request, denoiser, progress=second)) == (3, 0, 0)
        before = contents(tmp_path / "out")
        with pytest.raises(DaeError, match=r"another run has written to .* Start this one again"):
            list(late.results())
    assert len(refused) == 3
    assert all(re.fullmatch(rf"another run is writing to \S*{MANIFEST}\. .*give another output.*", text) for text in refused)
    assert contents(tmp_path / "out") == before
    assert len(read_manifest(tmp_path / "out" / MANIFEST)) == 3


def test_a_file_of_that_name_that_is_no_manifest_stays(tmp_path, denoiser, request_):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MANIFEST).write_text("my notes")
    with pytest.raises(DaeError, match=r"is not a manifest; it stays unchanged\. .*--manifest"):
        run_folder(request_, denoiser)
    assert (tmp_path / "out" / MANIFEST).read_text() == "my notes"
    assert run_folder(replace(request_, manifest=tmp_path / "m.jsonl"), denoiser).done == 3


def test_a_manifest_that_can_no_longer_be_written_ends_no_run(tmp_path, denoiser, request_, monkeypatch, caplog):
    """As on a full disk; the pictures that are done then are another's to the next run."""
    write, lines = os.write, []

    def full(file, data):
        if data.startswith(b'{"path": '):
            lines.append(data)
            if len(lines) > 1:  # whichever threads they come from, an output is not recorded
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    monkeypatch.setattr(os, "write", full)
    assert counts(run_folder(replace(request_, batch_size=1), denoiser)) == (3, 0, 0)
    (record,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "cannot be written: No space left on device. The run goes on, but" in record.getMessage()
    monkeypatch.undo()
    with pytest.raises(OutputExistsError, match="not written by the run"):
        run_folder(request_, denoiser)


def test_a_folder_that_was_moved_is_told_from_where_and_goes_on_once_moved_back(tmp_path, denoiser, request_):
    run_folder(request_, denoiser)
    out, moved = Path(request_.output), tmp_path / "moved"
    out.rename(moved)
    with pytest.raises(
        OutputExistsError, match=rf"It records outputs elsewhere, as {re.escape(str(out))}/.*: if the folder was moved, move"
    ):
        run_folder(replace(request_, output=moved), denoiser)
    moved.rename(out)
    assert run_folder(request_, denoiser).skipped == 3
