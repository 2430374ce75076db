"""What `dae-run IN OUT` does, done by a program: real folders, real processes."""

from __future__ import annotations

import json
import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from dae_runtime import Denoiser, FolderRequest, InputError, ModelError, OutputExistsError, run_folder
from dae_runtime.images import Image, read_image, write_image


def random_pixels(shape, seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def fill(folder, count, shape=(10, 12)):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        write_image(folder / f"{index:02}.png", Image(random_pixels(shape, index)))


@pytest.fixture
def images(tmp_path):
    fill(tmp_path / "in", 4)
    return tmp_path / "in"


def outputs(folder):
    """Return the content of every file but the manifest, by its path in the folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def entries(manifest):
    """Return the entries of a manifest without the fields that differ between runs."""
    lines = map(json.loads, manifest.read_text().splitlines())
    return sorted((line["status"], line["path"], line["model_sha256"], line["output_sha256"] or "") for line in lines)


def test_what_is_no_request_is_named(denoiser):
    with pytest.raises(InputError, match=r"expected a FolderRequest, received str\. Write FolderRequest\(source, output\)"):
        run_folder("in", denoiser)


def test_a_program_gets_the_bytes_that_the_command_writes(tmp_path, images, blur_file, denoiser, dae_run):
    fill(images / "sub", 2, (9, 8, 3))
    write_image(images / "deep.tif", Image(random_pixels((7, 6), dtype=np.uint16)))
    (images / "bad.png").write_text("text")
    fill(tmp_path / "clean", 2)
    flags = ("--suffix", "_x", "--format", "png", "--reference", tmp_path / "clean", "--strength", "0.75", "-r")
    files = ("--manifest", tmp_path / "a.jsonl", "--report", tmp_path / "a.html")
    command = dae_run("-m", blur_file, "--device", "cpu", "--threads", "1", images, tmp_path / "a", *flags, *files)
    assert command.returncode == 3, command.stderr

    request = FolderRequest(images, tmp_path / "b", recursive=True, suffix="_x", format="png", strength=0.75)
    files = {"reference": tmp_path / "clean", "manifest": tmp_path / "b.jsonl", "report": tmp_path / "b.html"}
    outcome = run_folder(replace(request, **files), denoiser)
    assert outputs(tmp_path / "b") == outputs(tmp_path / "a")
    assert entries(tmp_path / "b.jsonl") == entries(tmp_path / "a.jsonl")
    assert (outcome.manifest, outcome.report) == (tmp_path / "b.jsonl", tmp_path / "b.html")
    assert b"Denoised with tiny" in (tmp_path / "b.html").read_bytes()

    assert (outcome.total, outcome.done, outcome.skipped, outcome.failed, outcome.cancelled) == (8, 7, 0, 1, False)
    assert "7 of 8 files denoised, 1 failed" in command.stdout
    assert [failure.source for failure in outcome.failures] == [images / "bad.png"]
    assert f"failed: {outcome.failures[0].reason}\n" in command.stderr
    assert (outcome.compared, outcome.not_compared) == (2, 5)  # those in `sub` have none
    assert f"-> {outcome.scores.denoised_psnr_db:.2f} dB" in command.stdout
    assert (outcome.device, outcome.models, str(outcome.lossy), outcome.shallow.count) == ("cpu", ("tiny",), "", 0)


def test_bad_files_stop_nothing_and_are_tried_again_when_asked_to(tmp_path, images, denoiser):
    (images / "00.png").write_bytes(b"")
    (images / "02.png").write_bytes((images / "02.png").read_bytes()[:60])
    request = FolderRequest(images, tmp_path / "out", resume=True)
    first = run_folder(request, denoiser)
    assert (first.done, first.failed) == (2, 2)
    assert sorted(outputs(tmp_path / "out")) == ["01.png", "03.png"]
    for failure, name in zip(first.failures, ("00.png", "02.png"), strict=True):
        assert failure.source == images / name
        assert failure.reason.startswith(f"{images / name}: ")

    write_image(images / "00.png", Image(random_pixels((5, 5))))
    (images / "02.png").touch()  # both are new: what has changed is tried in any case
    second = run_folder(request, denoiser)
    assert (second.done, second.skipped, second.failed) == (1, 2, 1)
    third = run_folder(request, denoiser)
    assert (third.done, third.skipped, third.failures) == (0, 3, second.failures)
    again = run_folder(replace(request, retry_failed=True), denoiser)
    assert (again.done, again.skipped, again.failures) == (0, 3, second.failures)
    assert (tmp_path / "out" / "dae-manifest.jsonl").read_text().count('"status": "failed"') == 4  # 2, 1, 0 and 1


def test_fail_fast_ends_the_run_at_the_first_bad_file(tmp_path, denoiser):
    fill(tmp_path / "in", 60, (200, 200, 3))
    (tmp_path / "in" / "00.png").write_text("text")
    outcome = run_folder(FolderRequest(tmp_path / "in", tmp_path / "out", fail_fast=True, batch_size=1), denoiser)
    assert (outcome.failed, outcome.cancelled) == (1, False)
    assert outcome.done < 30


def test_progress_is_called_after_each_file_and_its_errors_end_the_run(tmp_path, images, denoiser):
    reported: list[tuple[int, int]] = []
    run_folder(FolderRequest(images, tmp_path / "a"), denoiser, progress=lambda *counts: reported.append(counts))
    assert reported == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def fails(finished, total):
        raise KeyError("mine")

    threads = threading.active_count()
    with pytest.raises(KeyError, match="mine"):
        run_folder(FolderRequest(images, tmp_path / "b"), denoiser, progress=fails)
    assert threading.active_count() == threads


def test_a_cancelled_run_is_resumed(tmp_path, denoiser):
    fill(tmp_path / "in", 40, (200, 200, 3))
    request, cancel = (
        FolderRequest(tmp_path / "in", tmp_path / "out", resume=True, report=tmp_path / "r.html"),
        threading.Event(),
    )
    first = run_folder(request, denoiser, progress=lambda finished, total: cancel.set(), cancel=cancel.is_set)
    assert first.cancelled
    assert 0 < first.done < first.total == 40
    assert (first.failed, first.failures, first.report) == (0, (), tmp_path / "r.html")
    assert len(outputs(tmp_path / "out")) == first.done
    second = run_folder(request, denoiser)
    assert (second.done, second.skipped, second.cancelled) == (40 - first.done, first.done, False)
    run_folder(FolderRequest(tmp_path / "in", tmp_path / "whole"), denoiser)
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


def test_cancelling_within_a_large_image_leaves_no_output(tmp_path, blur_file):
    fill(tmp_path / "in", 1, (700, 900))
    asked: list[int] = []

    def cancel():
        asked.append(1)
        return len(asked) > 3  # once for the run, once for the file, once for each of its four tiles

    with Denoiser(blur_file, "cpu", 1, tile_px=512) as denoiser:
        outcome = run_folder(FolderRequest(tmp_path / "in", tmp_path / "out"), denoiser, cancel=cancel)
    assert (outcome.done, outcome.failed, outcome.cancelled) == (0, 0, True)
    assert not (tmp_path / "out").exists()


KILLED = """
import sys
from dae_runtime import Denoiser, FolderRequest, run_folder
model, source, output = sys.argv[1:]
if __name__ == "__main__":
    run_folder(FolderRequest(source, output, resume=True), Denoiser(model, "cpu", 1))
"""


def test_a_run_that_was_killed_is_resumed_to_the_same_bytes(tmp_path, blur_file, denoiser):
    fill(tmp_path / "in", 60, (250, 300, 3))
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", KILLED, blur_file, tmp_path / "in", out]) as process:
        end = time.monotonic() + 60
        while len(list(out.glob("[0-9]*.png"))) < 5 and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    outcome = run_folder(FolderRequest(tmp_path / "in", out, resume=True), denoiser)
    assert outcome.done + outcome.skipped == outcome.total == 60
    assert min(outcome.done, outcome.skipped) > 0
    run_folder(FolderRequest(tmp_path / "in", tmp_path / "whole"), denoiser)
    assert outputs(out) == outputs(tmp_path / "whole")  # and nothing unfinished is left


def test_a_request_is_carried_out_by_another_process(tmp_path, images, denoiser):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        outcome = pool.submit(run_folder, FolderRequest(images, tmp_path / "there"), denoiser).result(timeout=60)
    assert (outcome.done, outcome.failed, outcome.models) == (4, 0, ("tiny",))
    run_folder(FolderRequest(images, tmp_path / "here"), denoiser)
    assert outputs(tmp_path / "there") == outputs(tmp_path / "here")


def test_a_model_of_bytes_and_its_file_are_the_same_to_a_manifest(tmp_path, images, blur_file, denoiser):
    request = FolderRequest(images, tmp_path / "out", resume=True)
    assert run_folder(request, denoiser).done == 4
    with Denoiser(blur_file.read_bytes(), "cpu", 1) as of_bytes:
        assert run_folder(request, of_bytes).skipped == 4
    blur_file.unlink()
    with pytest.raises(ModelError, match=r"blur\.onnx cannot be read"):
        run_folder(request, denoiser)


def test_an_image_is_limited_in_size(tmp_path, images, denoiser):
    write_image(images / "large.png", Image(random_pixels((20, 20))))
    outcome = run_folder(FolderRequest(images, tmp_path / "out", max_pixels=120), denoiser)
    assert [failure.source.name for failure in outcome.failures] == ["large.png"]
    assert "exceed the limit" in outcome.failures[0].reason


def test_unrequested_losses_are_counted(tmp_path, images, denoiser):
    for index in range(7):
        (images / f"{index}.png").unlink(missing_ok=True)
        write_image(tmp_path / "a.png", Image(random_pixels((10, 12), dtype=np.uint16)))
        (tmp_path / "a.png").rename(images / f"{index}.jpg")
    outcome = run_folder(FolderRequest(images, tmp_path / "out"), denoiser)
    assert (outcome.lossy.count, outcome.shallow.count) == (7, 7)
    assert outcome.lossy.first == tuple(str(images / f"{index}.jpg") for index in range(5))


def test_a_report_with_nothing_to_add_stays(tmp_path, images, denoiser):
    request = FolderRequest(images, tmp_path / "out", resume=True, report=tmp_path / "r.html")
    assert run_folder(request, denoiser).report == tmp_path / "r.html"
    before = (tmp_path / "r.html").read_bytes()
    assert run_folder(request, denoiser).report is None
    assert (tmp_path / "r.html").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"source": "{tmp}/none"}, InputError, "does not exist"),
        ({"output": "{tmp}/in/sub"}, InputError, "inside the input"),
        ({"format": "gif"}, InputError, "gif"),
        ({"reference": "{tmp}/none"}, InputError, "not a folder of clean images"),
        ({"manifest": "{tmp}/a.png"}, InputError, "has an image suffix"),
        ({"report": "{tmp}/in"}, InputError, "is a folder"),
        ({"report": "{tmp}/blur.onnx", "overwrite": True}, InputError, "its model"),
        ({"report": "{tmp}/in/00.png", "overwrite": True}, InputError, "is an image of this run"),
        ({"report": "{tmp}/mine"}, OutputExistsError, "mine exists already"),
        ({"report": "{tmp}/mine/r.html"}, InputError, "cannot be created"),
        ({"output": "{tmp}/other"}, OutputExistsError, "01.png"),
        ({"output": "{tmp}/other", "resume": True}, OutputExistsError, "nothing to resume"),
    ],
)
def test_refusals_before_anything_is_written(tmp_path, images, denoiser, changes, error, words):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "01.png").write_text("mine")
    before = outputs(tmp_path)
    request = FolderRequest(images, tmp_path / "out")
    filled = {name: value.format(tmp=tmp_path) if isinstance(value, str) else value for name, value in changes.items()}
    with pytest.raises(error, match=words):
        run_folder(replace(request, **filled), denoiser)
    assert outputs(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_outputs_of_another_strength_are_replaced_only_when_asked_to(tmp_path, images, denoiser):
    request = FolderRequest(images, tmp_path / "out", resume=True)
    run_folder(request, denoiser)
    before = outputs(tmp_path / "out")
    weaker = replace(request, strength=0.5)
    with pytest.raises(OutputExistsError, match=r"strength 1 instead of 0\.5"):
        run_folder(weaker, denoiser)
    assert outputs(tmp_path / "out") == before
    assert run_folder(replace(weaker, overwrite=True), denoiser).done == 4
    expected = denoiser.denoise(read_image(images / "00.png").pixels, strength=0.5)
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "00.png").pixels, expected)
