"""Files that `dae-run` never replaces: those of other programs, and those still being written."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

from builders import invoke, random_pixels, wait_until
from dae_runtime.cli.command import command
from dae_runtime.images import Image, read_image, write_image


def picture(seed=0, dtype=np.uint8):
    return Image(random_pixels((10, 12), dtype, seed))


@pytest.fixture
def clean(tmp_path):
    (tmp_path / "clean").mkdir()
    for index in range(3):
        write_image(tmp_path / "clean" / f"{index}.png", picture(index + 10))
    return tmp_path / "clean"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_references_are_never_written_to(tmp_path, images, clean, blur_file):
    before, page = contents(clean), clean / "0.png"
    onto = invoke(command, "-m", blur_file, images, clean, "--reference", clean, "--overwrite")
    assert onto.exit_code == 2, onto.output
    assert "is also a reference" in onto.stderr
    for extra in (("--report", page), ("--manifest", page)):
        arguments = ("-m", blur_file, images / "0.png", tmp_path / "out/", "--reference", page, "--overwrite", *extra)
        done = invoke(command, *arguments)
        assert done.exit_code == 2, done.output
        assert f"{extra[0]} {page} " in done.stderr
    assert contents(clean) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("extra", [(), ("--watch",), ("--resume",), ("--dry-run",)])
def test_a_manifest_takes_no_name_of_an_image(tmp_path, images, blur_file, extra):
    manifest = tmp_path / "out" / "1.PNG"
    done = invoke(command, "-m", blur_file, images, tmp_path / "out", "--manifest", manifest, *extra)
    assert done.exit_code == 2, done.output
    assert f"--manifest {manifest} has an image suffix" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_resuming_replaces_only_its_own_report(tmp_path, images, blur_file, dae_run):
    page, out = tmp_path / "page.html", tmp_path / "out"
    command = ("-m", blur_file, images, out, "--resume", "--report", page)
    assert dae_run(*command).returncode == 0
    first = page.read_bytes()

    idle = dae_run(*command)
    assert idle.returncode == 0, idle.stderr
    assert f"{page} stays unchanged" in idle.stderr
    assert page.read_bytes() == first

    write_image(images / "3.png", picture(3))
    assert dae_run(*command).returncode == 0
    assert page.read_bytes() != first

    page.write_text("<html>mine</html>")
    write_image(images / "4.png", picture(4))
    for _ in range(2):  # the second time with nothing left to do
        refused = dae_run(*command)
        assert refused.returncode == 1
        assert "exists already" in refused.stderr
        assert "--overwrite" in refused.stderr
        assert page.read_text() == "<html>mine</html>"
        assert dae_run(*command[:-2]).returncode == 0
    assert dae_run(*command, "--overwrite").returncode == 0
    assert page.read_text() != "<html>mine</html>"


@pytest.mark.slow
def test_a_report_of_another_run_is_recognized(tmp_path, images, blur_file, dae_run):
    """A dry run ends as the run would."""
    page = tmp_path / "page.html"
    command = ("-m", blur_file, images, tmp_path / "out", "--report", page)
    assert dae_run(*command).returncode == 0
    refused = dae_run(*command, "--suffix", "_x")
    assert (refused.returncode, "exists already" in refused.stderr) == (1, True)
    resumed = ("-m", blur_file, images, tmp_path / "other", "--resume", "--report", page)
    assert dae_run(*resumed).returncode == 1  # nothing to resume: a new run
    assert dae_run(*resumed[:-2]).returncode == 0
    (tmp_path / "other" / "1.png").unlink()
    assert dae_run(*resumed, "--dry-run").returncode == 0
    page.write_bytes(b"\xff\x00 no text")
    assert dae_run(*resumed, "--dry-run").returncode == 1


@pytest.mark.slow
def test_a_hot_folder_leaves_alone_what_others_changed(tmp_path, images, blur_file):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dae_runtime", "-m", str(blur_file), str(images), str(out), "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: len(list(out.glob("[0-9].png"))) == 3)
        made = (out / "1.png").read_bytes()
        (out / "0.png").write_text("retouched by hand")
        for name in ("0.png", "1.png", "3.png"):
            write_image(images / name, picture(33))
        wait_until(lambda: (out / "3.png").exists() and (out / "1.png").read_bytes() != made)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert (out / "0.png").read_text() == "retouched by hand"
    assert errors.count("0.png was written or changed by another program") == 1
    assert "Traceback" not in errors


def test_a_suffix_that_no_hot_folder_can_use(tmp_path, images, blur_file):
    done = invoke(command, "-m", blur_file, images, tmp_path / "out", "--watch", "--suffix", "a/b")
    assert done.exit_code == 2
    assert "suffix" in done.stderr


def run_bytes(*arguments, content=b""):
    command = [sys.executable, "-m", "dae_runtime", *map(str, arguments)]
    return subprocess.run(command, input=content, capture_output=True, timeout=60, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lost_bits_of_a_stream_are_reported(tmp_path, blur_file, dtype):
    source, reported = tmp_path / "a.png", dtype == np.uint16
    write_image(source, picture(0, dtype))
    named = run_bytes("-m", blur_file, source, "-", "--format", "jpg")
    piped = run_bytes("-m", blur_file, "-", tmp_path / "a.jpg", content=source.read_bytes())
    for done, name in ((named, str(source)), (piped, "the image")):
        assert done.returncode == 0, done.stderr
        assert (f"{name}: reduced from 16 to 8 bits" in done.stderr.decode()) == reported
    assert read_image(tmp_path / "a.jpg").pixels.dtype == np.uint8
    kept = run_bytes("-m", blur_file, source, "-", "--format", "tif")
    quiet = run_bytes("-q", "-m", blur_file, source, "-", "--format", "jpg")
    assert (kept.stderr, quiet.stderr) == (b"", b"")


@pytest.mark.slow
def test_an_error_names_the_file_that_was_named(tmp_path, blur_file):
    (tmp_path / "bad.png").write_text("text")
    done = run_bytes("-m", blur_file, tmp_path / "bad.png", "-")
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"error: {tmp_path}/bad.png: ")
