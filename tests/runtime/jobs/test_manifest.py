from __future__ import annotations

import dataclasses
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dae_runtime import DaeError, InputError
from dae_runtime.images import Image, write_image
from dae_runtime.inference.controls import Controls
from dae_runtime.jobs.local import file_sha256, file_stamp
from dae_runtime.jobs.manifest import (
    Entry,
    Manifest,
    Settings,
    entry_of,
    read_manifest,
)
from dae_runtime.jobs.plan import Job
from dae_runtime.jobs.remaining import remaining_jobs

SETTINGS = Settings("ab" * 32)


def stamp(job):
    return file_stamp(job.source)


@pytest.fixture
def jobs(tmp_path) -> list[Job]:
    """Two files with outputs, one that will fail, one that was never reached; an odd name among them."""
    names = ["a.png", os.fsdecode(b"\xff x.png"), "c.png", "d.png"]
    made = [Job(tmp_path / "in" / name, tmp_path / "out" / name) for name in names]
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    for job in made:
        job.source.write_text(f"noisy {job.source.name!r}")
    for job in made[:2]:
        job.destination.write_text(f"clean {job.source.name!r}")
    return made


@pytest.fixture
def recorded(tmp_path, jobs) -> Path:
    path = tmp_path / "deep" / "manifest.jsonl"
    with Manifest(path, SETTINGS) as manifest:
        for job in jobs[:2]:
            manifest.record(job, stamp(job), None, 0.25, file_sha256(job.destination))
        manifest.record(jobs[2], stamp(jobs[2]), "it is no image", 0.5, None)
    return path


def left(path, jobs, settings=SETTINGS, retry_failed=False):
    remaining = remaining_jobs(jobs, read_manifest(path), settings, retry_failed)
    return [jobs.index(job) for job in remaining.jobs], len(remaining.complete), len(remaining.failed)


def test_every_file_has_a_line(recorded, jobs):
    lines = [json.loads(line) for line in recorded.read_bytes().splitlines()]
    assert [line["status"] for line in lines] == ["done", "done", "failed"]
    for line, job in zip(lines, jobs, strict=False):
        assert set(line) == {field.name for field in dataclasses.fields(Entry)} - {"output_mark"}  # of objects
        assert line["path"] == str(job.source)
        assert line["output"] == str(job.destination)
        assert line["source_bytes"] == job.source.stat().st_size
        assert line["model_sha256"] == SETTINGS.model_sha256
    assert lines[2]["error"] == "it is no image"
    assert lines[2]["output_sha256"] is None


def test_what_remains(recorded, jobs):
    assert left(recorded, jobs) == ([3], 2, 1)
    assert left(recorded, jobs, retry_failed=True) == ([2, 3], 2, 0)


@pytest.mark.parametrize("settings", [Settings("cd" * 32), Settings(SETTINGS.model_sha256, Controls(strength=0.5))])
def test_outputs_of_other_settings_are_not_trusted(recorded, jobs, settings):
    assert left(recorded, jobs, settings) == ([0, 1, 2, 3], 0, 0)


def test_existing_outputs_of_other_settings_are_listed(recorded, jobs):
    other = Settings("cd" * 32)
    jobs[1].destination.unlink()
    assert remaining_jobs(jobs, read_manifest(recorded), other).other_settings == [jobs[0]]
    assert remaining_jobs(jobs, read_manifest(recorded), SETTINGS).other_settings == []
    jobs[0].source.write_text("another picture")  # whatever it was made from, its settings are not these
    assert remaining_jobs(jobs, read_manifest(recorded), other).other_settings == [jobs[0]]


def test_the_entry_of_a_job(recorded, jobs):
    entries = read_manifest(recorded)
    assert entry_of(jobs[2], entries).error == "it is no image"
    assert entry_of(jobs[0], entries).settings == SETTINGS
    assert entry_of(jobs[3], entries) is None


def test_an_output_that_is_gone_or_changed_is_not_trusted(recorded, jobs):
    jobs[0].destination.unlink()
    jobs[1].destination.write_text("cut sho")
    assert left(recorded, jobs) == ([0, 1, 3], 0, 1)


def test_an_input_that_has_changed_is_done_again(recorded, jobs):
    jobs[0].source.write_text("another picture")
    os.utime(jobs[2].source, ns=(1, 1))
    assert left(recorded, jobs) == ([0, 2, 3], 1, 0)


def test_another_output_is_another_job(recorded, jobs):
    moved = [Job(job.source, job.destination.with_suffix(".tif")) for job in jobs]
    assert left(recorded, moved) == ([0, 1, 2, 3], 0, 0)


def test_the_last_line_of_a_file_counts(recorded, jobs):
    with Manifest(recorded, SETTINGS) as manifest:
        manifest.record(jobs[0], stamp(jobs[0]), "the disk was full", 0.1, None)
        jobs[2].destination.write_text("clean")
        manifest.record(jobs[2], stamp(jobs[2]), None, 0.1, file_sha256(jobs[2].destination))
    assert left(recorded, jobs) == ([3], 2, 1)


@pytest.mark.parametrize("keep", range(0, 400, 7))
def test_a_line_cut_short_counts_as_not_written(recorded, jobs, keep):
    whole = recorded.read_bytes()
    lines = whole.splitlines(keepends=True)
    recorded.write_bytes(lines[0] + lines[1][: min(keep, len(lines[1]) - 1)])
    cut = len(lines[1]) - 1 > keep
    assert left(recorded, jobs)[1] == (1 if cut else 2)
    with Manifest(recorded, SETTINGS) as manifest:
        manifest.record(jobs[1], stamp(jobs[1]), None, 0.1, file_sha256(jobs[1].destination))
    assert left(recorded, jobs) == ([2, 3], 2, 0)


def test_threads_write_whole_lines(tmp_path, jobs):
    path = tmp_path / "m.jsonl"
    with Manifest(path, SETTINGS) as manifest:
        threads = [
            threading.Thread(
                target=lambda: [manifest.record(jobs[0], stamp(jobs[0]), "x" * 500, 0.1, None) for _ in range(100)]
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len([json.loads(line) for line in path.read_bytes().splitlines()]) == 400


def test_a_manifest_that_cannot_be_used(tmp_path, jobs):
    assert read_manifest(tmp_path / "none") == {}
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(tmp_path)
    with pytest.raises(DaeError, match="cannot be written"):
        Manifest(tmp_path, SETTINGS)
    with Manifest(Path("/dev/full"), SETTINGS) as manifest, pytest.raises(DaeError, match="No space left"):
        manifest.record(jobs[0], stamp(jobs[0]), None, 0.1, "00")


def test_other_files_are_not_appended_to(tmp_path):
    picture = tmp_path / "picture.png"
    write_image(picture, Image(np.zeros((4, 4), np.uint8)))
    before = picture.read_bytes()
    with pytest.raises(DaeError, match="is not a manifest"):
        Manifest(picture, Settings("m"))
    assert picture.read_bytes() == before
    for beginning in (b"", b'{"pa', b'{"path": "/a.png", '):
        torn = tmp_path / "torn.jsonl"
        torn.write_bytes(beginning)
        Manifest(torn, Settings("m")).close()


def test_files_not_written_by_the_run_are_foreign(recorded, jobs):
    """Files of other programs: at an output that was never begun, that failed, or that changed since it was done."""

    def foreign(kind="foreign", **changes):
        remaining = remaining_jobs(jobs, read_manifest(recorded), SETTINGS, **changes)
        return [jobs.index(job) for job in getattr(remaining, kind)]

    assert foreign(retry_failed=True) == []
    jobs[0].destination.write_text("damaged")
    write_image(jobs[1].destination, Image(np.zeros((3, 4), np.uint8)), overwrite=True)
    jobs[2].destination.write_text("precious")
    jobs[3].destination.write_text("precious")
    assert foreign() == [3]
    assert foreign(retry_failed=True) == [3]
    assert foreign("contested", retry_failed=True) == [2]  # known to the manifest: it fails alone
    assert foreign(retry_failed=True, overwrite=True) == [1, 2, 3]
    assert remaining_jobs(jobs, read_manifest(recorded), SETTINGS).edited == [jobs[1]]
    with Manifest(recorded, SETTINGS) as manifest:  # a run that is killed while it writes
        manifest.begin(jobs[3], stamp(jobs[3]))
    assert foreign(retry_failed=True) == []
    assert left(recorded, jobs) == ([0, 3], 0, 1)


def test_an_output_of_this_run_whose_input_has_changed_is_its_own(recorded, jobs):
    os.utime(jobs[0].source, ns=(1, 1))
    remaining = remaining_jobs(jobs, read_manifest(recorded), SETTINGS)
    assert jobs[0] in remaining.jobs
    assert remaining.foreign == []


def test_an_input_that_changed_after_it_was_read_is_done_again(tmp_path, jobs):
    """The stamp is that of the file as read, whenever the line is written."""
    path, read = tmp_path / "m.jsonl", stamp(jobs[0])
    jobs[0].source.write_text("saved again meanwhile")
    with Manifest(path, SETTINGS) as manifest:
        manifest.begin(jobs[0], read)
        manifest.record(jobs[0], read, None, 0.1, file_sha256(jobs[0].destination))
    assert left(path, jobs[:1]) == ([0], 0, 0)


LINE = {
    "path": "/a.png",
    "output": "/b.png",
    "status": "done",
    "error": None,
    "seconds": 1.0,
    "model_sha256": "ab",
    "strength": 1.0,
    "source_bytes": 1,
    "source_mtime_ns": 1,
    "output_sha256": "cd",
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(
    changes=st.dictionaries(
        st.sampled_from([*LINE, "sigma", "luma", "bits", "ensemble", "level", "other"]), json_values, max_size=3
    )
)
@example({"path": []})
@example({"path": {}})
@example({"strength": 5})
@example({"bits": "16"})
def test_any_line_is_an_entry_or_ignored(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("manifest") / "m.jsonl"
    path.write_text(json.dumps(LINE | changes) + "\n" + json.dumps(LINE | {"output": "/whole.png"}) + "\n", "utf-8")
    entries = read_manifest(path)
    assert "/whole.png" in entries
    for entry in entries.values():
        assert isinstance(entry.path, str)
        assert isinstance(entry.output, str)
        assert entry.settings.controls.strength <= 1


@pytest.mark.parametrize("text", ["[" * 200_000, '{"path": ' + "9" * 5000 + "}", "x" * 3_000_000, "null", "[]", '"a"'])
def test_hostile_lines_are_ignored(tmp_path, text):
    (tmp_path / "m.jsonl").write_text(text + "\n" + json.dumps(LINE) + "\n", "utf-8")
    assert list(read_manifest(tmp_path / "m.jsonl")) == ["/b.png"]
