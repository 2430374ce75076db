"""`dae-run` on files and folders: outputs, reports, comparisons."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from builders import random_pixels, wait_until
from dae_runtime.images import Image, read_image, write_image

pytestmark = pytest.mark.slow


def test_a_folder_with_bad_files(tmp_path, blur_file, blur, dae_run):
    """Twenty good images among everything that can go wrong: twenty outputs, the bad ones named, nothing changed."""
    folder = tmp_path / "in"
    (folder / "leerer Ordner äöü ß.png").mkdir(parents=True)
    good = [f"good {index}.png" for index in range(17)]
    good += ["naïve Größe.jpg", "色.webp", os.fsdecode(b"undecodable \xff\xfe.png")]
    for index, name in enumerate(good):
        shape = [(20, 30), (20, 30, 3), (1, 1), (5, 3, 4)][index % 4 if index < 17 else 1]
        write_image(folder / name, Image(random_pixels(shape, seed=index)))
    (folder / "truncated.png").write_bytes((folder / "good 1.png").read_bytes()[:700])
    (folder / "text.png").write_text("this is no image\n")
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("not taken\n")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}

    result = dae_run("-m", blur_file, folder, tmp_path / "out")
    assert result.returncode == 3, result.stderr
    for name in ("truncated.png", "text.png", "empty.png"):
        assert re.search(rf"^failed: .*{name}", result.stderr, re.MULTILINE)
    assert result.stderr.count("failed:") == 3
    assert "20 of 23 files denoised, 3 failed" in result.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*good, "dae-manifest.jsonl"])
    for name in good[:17]:
        clean = blur.denoise(read_image(folder / name).pixels)
        np.testing.assert_array_equal(read_image(tmp_path / "out" / name).pixels, clean)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()} == before


def test_one_file_and_its_exit_code(tmp_path, images, blur_file, dae_run):
    output = tmp_path / "clean.png"
    result = dae_run("-m", blur_file, images / "0.png", output)
    assert result.returncode == 0
    assert result.stdout.startswith("1 of 1 file denoised, 0 failed")
    assert read_image(output).pixels.shape == (10, 12)

    again = dae_run("-m", blur_file, images / "0.png", output)
    assert again.returncode == 1
    assert "clean.png" in again.stderr
    assert "--overwrite" in again.stderr
    quiet = dae_run("-q", "-m", blur_file, images / "0.png", output, "--overwrite")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_options_of_a_folder_run(tmp_path, images, blur_file, dae_run):
    (images / "sub").mkdir()
    (images / "0.png").rename(images / "sub" / "0.png")
    options = ("-r", "--format", "tif", "--suffix", "_x", "-b", "2", "--threads", "1", "--device", "cpu", "-v")
    result = dae_run("-m", blur_file, *options, images, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*_x.*"))
    assert written == ["1_x.tif", "2_x.tif", "sub/0_x.tif"]


def test_dry_run_needs_no_model_and_writes_nothing(tmp_path, images, dae_run):
    result = dae_run("--dry-run", images, tmp_path / "out")
    assert result.returncode == 0
    assert result.stdout.splitlines()[0] == f"{images}/0.png -> {tmp_path}/out/0.png"
    assert len(result.stdout.splitlines()) == 3
    assert not (tmp_path / "out").exists()


def test_references(tmp_path, images, blur_file, dae_run):
    (tmp_path / "clean").mkdir()
    for name in ("0.png", "1.png"):
        write_image(tmp_path / "clean" / name, Image(np.full((10, 12), 128, np.uint8)))
    result = dae_run("-m", blur_file, images, tmp_path / "out", "--reference", tmp_path / "clean")
    assert result.returncode == 0, result.stderr
    before, after = map(float, re.search(r"PSNR (\S+) -> (\S+) dB", result.stdout).groups())
    assert after > before + 3
    assert "mean of 2 files with" in result.stdout
    assert "1 file could not be compared" in result.stdout
    assert "2.png: there is no reference" in result.stderr


def test_fail_fast(tmp_path, images, blur_file, dae_run):
    (images / "0.png").write_text("text")
    result = dae_run("--fail-fast", "-m", blur_file, images, tmp_path / "out")
    assert result.returncode == 3
    assert "0 of 3 files denoised, 1 failed" in result.stdout
    assert not (tmp_path / "out").exists()


def test_the_default_is_the_bundled_models(tmp_path, images, make_model, run_python):
    """Gray and color images have a model each; both are tested, and count as settings of a run."""
    code = "import sys, pathlib; from dae_runtime import cli; from dae_runtime.models import bundled; "
    code += "bundled.MODEL_FOLDER = pathlib.Path(sys.argv.pop(1)); "
    run = partial(run_python, "-c", code + "cli.main()", tmp_path)
    for name, channels in (("gray", 1), ("color", 3)):
        (tmp_path / f"{name}.onnx").write_bytes(make_model(channels=channels, name=name))
    tested = run("--self-test", "--device", "cpu")
    assert tested.returncode == 0
    assert re.findall(r"(\w+) on cpu: .* passed", tested.stdout) == ["color", "gray"]
    write_image(images / "color.png", Image(random_pixels((10, 12, 3))))
    command = (images, tmp_path / "out", "--resume", "--device", "cpu")
    assert re.search(r"4 of 4 files.* with gray and color$", run(*command).stdout, re.MULTILINE)
    (tmp_path / "color.onnx").write_bytes(make_model(channels=3, name="newer"))
    refused = run(*command)
    assert refused.returncode == 1
    assert re.search("4 outputs.*another model", refused.stderr)


def start(*arguments, **options):
    command = [sys.executable, "-m", "dae_runtime", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_a_hot_folder(tmp_path, images, blur_file, blur):
    out = tmp_path / "out"
    with start("-m", blur_file, images, out, "--watch") as process:
        wait_until(lambda: len(list(out.glob("[0-9].png"))) == 3)
        write_image(images / "later.png", Image(random_pixels((9, 9))))
        wait_until(lambda: (out / "later.png").exists())
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b" of 4 files denoised" in output
    np.testing.assert_array_equal(read_image(out / "later.png").pixels, blur.denoise(random_pixels((9, 9))))


def test_tiles_and_memory_change_no_pixel(tmp_path, blur_file, blur, dae_run):
    write_image(tmp_path / "a.png", Image(random_pixels((700, 900))))
    for index, option in enumerate((("-t", "128"), ("--max-memory-mb", "64"), ("--strength", "1"))):
        result = dae_run("-m", blur_file, tmp_path / "a.png", tmp_path / f"{index}.png", *option)
        assert result.returncode == 0, result.stderr
        written = read_image(tmp_path / f"{index}.png").pixels
        # Float arithmetic may round the other way where the blur falls half-way between two values.
        np.testing.assert_allclose(written.astype(int), blur.denoise(random_pixels((700, 900))), atol=1)


def test_a_dry_run_prints_the_whole_plan_and_ends_as_the_run_would(tmp_path, images, blur_file, dae_run):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.png").write_text("mine")
    command = ("-m", blur_file, images, tmp_path / "out")
    planned, done = dae_run("--dry-run", *command), dae_run(*command)
    plain = [f"{images}/{index}.png -> {tmp_path}/out/{index}.png" for index in range(3)]
    assert planned.stdout.splitlines() == [plain[0], f"{plain[1]}  (exists: refused without --overwrite)", plain[2]]
    assert (planned.returncode, planned.stderr) == (done.returncode, done.stderr) == (1, done.stderr)
    planned = dae_run("--dry-run", "--overwrite", *command)
    assert planned.stdout.splitlines() == [plain[0], f"{plain[1]}  (exists: replaced)", plain[2]]
    assert (planned.returncode, planned.stderr) == (0, "")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1.png"]


def test_a_report_names_all_models_that_worked(tmp_path, dae_run):
    for name, shape in (("gray", (16, 16)), ("color", (16, 16, 3))):
        (tmp_path / "in").mkdir(exist_ok=True)
        write_image(tmp_path / "in" / f"{name}.png", Image(random_pixels(shape)))
    for source in ("in", "in/gray.png"):
        assert dae_run(tmp_path / source, tmp_path / f"out{len(source)}", "--report", tmp_path / "r.html").returncode == 0
        heading = re.search("<h1>(.*)</h1>", (tmp_path / "r.html").read_text())
        assert heading
        assert set(heading[1].removeprefix("Denoised with ").split(" and ")) == {
            "gray",
            *(["color"] if source == "in" else []),  # the noise is too strong for `photo`
        }
        (tmp_path / "r.html").unlink()


def test_a_report_replaces_files_only_with_overwrite(tmp_path, images, blur_file, dae_run):
    page, first = tmp_path / "page.html", images / "0.png"
    page.write_text("mine")
    done = dae_run("-m", blur_file, images, tmp_path / "out", "--report", page)
    assert (done.returncode, page.read_text()) == (1, "mine")
    assert "exists already" in done.stderr
    before = first.read_bytes(), blur_file.read_bytes()
    for taken in (first, blur_file, tmp_path / "out" / "0.png"):
        done = dae_run("-m", blur_file, images, tmp_path / "out", "--overwrite", "--report", taken)
        assert done.returncode == 2, done.stderr
    assert (first.read_bytes(), blur_file.read_bytes()) == before


def test_without_a_model_those_in_the_box_are_taken(tmp_path, images, dae_run):
    result = dae_run(images, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "with gray" in result.stdout
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == sorted(path.name for path in images.iterdir())
