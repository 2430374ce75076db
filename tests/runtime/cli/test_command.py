from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

from dae_runtime import __version__
from dae_runtime.contract import Golden
from dae_runtime.images import Image, read_image, write_image
from dae_runtime.system.atomic import TEMPORARY_PREFIX


def random_pixels(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(3):
        write_image(folder / f"{index}.png", Image(random_pixels((10, 12), index)))
    return folder


def test_a_folder_with_bad_files(tmp_path, blur_file, blur, dae_run):
    """Twenty good images among everything that can go wrong: twenty outputs, the bad ones named, nothing changed."""
    folder = tmp_path / "in"
    (folder / "leerer Ordner äöü ß.png").mkdir(parents=True)
    good = [f"good {index}.png" for index in range(17)]
    good += ["naïve Größe.jpg", "色.webp", os.fsdecode(b"undecodable \xff\xfe.png")]
    for index, name in enumerate(good):
        shape = [(20, 30), (20, 30, 3), (1, 1), (5, 3, 4)][index % 4 if index < 17 else 1]
        write_image(folder / name, Image(random_pixels(shape, index)))
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
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(good)
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
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "IN and OUT"),
        (("only-in",), "IN and OUT"),
        (("-m", "{model}", "no-such-input", "{out}"), "does not exist"),
        (("-m", "{model}", "{in}", "{in}/sub"), "inside the input"),
        (("-m", "{model}", "{in}", "{out}", "--device", "tpu"), "auto, cpu, cuda"),
        (("-m", "{model}", "{in}", "{out}", "--threads", "0"), "--threads"),
        (("-m", "{model}", "{in}", "{out}", "-b", "0"), "--batch-size"),
        (("-m", "{model}", "{in}", "{out}", "--format", "gif"), "gif"),
        (("-m", "{model}", "{in}", "{out}", "--reference", "none"), "reference none"),
        (("-m", "{model}", "{in}", "{out}", "--self-test"), "stand alone"),
        (("--no-such-option",), "no-such-option"),
        (("-m", "{model}", "{in}/0.png", "{out}.xyz"), "out.xyz is neither a file"),
        (("-m", "{model}", "{in}", "{out}.png"), "give {out}.png/"),
        (("-m", "{model}", "{in}", "{out}", "--max-memory-mb", "1"), "x>=64"),
        (("-m", "{model}", "{in}", "{out}", "--report", "{in}"), "is a folder"),
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path, images, blur_file, dae_run, arguments, words):
    names = {"in": images, "out": tmp_path / "out", "model": blur_file}
    result = dae_run(*(argument.format(**names) for argument in arguments))
    assert result.returncode == 2
    assert words.format(**names) in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("out*"))


def test_a_file_whose_name_begins_with_a_dash(tmp_path, images, blur_file, dae_run):
    shutil.copy(images / "0.png", tmp_path / "-dash.png")
    taken_for_options = dae_run("-m", blur_file, "-dash.png", "out.png", cwd=tmp_path)
    assert taken_for_options.returncode == 2
    assert "./-dash.png" in taken_for_options.stderr
    assert dae_run("-m", blur_file, "./-dash.png", "out.png", cwd=tmp_path).returncode == 0


def test_a_failure_is_exit_code_1_in_one_line(tmp_path, images, dae_run):
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"junk" * 50)
    for model in (damaged, "no-such-model"):
        result = dae_run("-m", model, images, tmp_path / "out")
        assert result.returncode == 1
        assert result.stderr.startswith("error: ")
        assert len(result.stderr.splitlines()) == 1


def test_self_test(tmp_path, make_model, blur_file, dae_run):
    result = dae_run("--self-test", "-m", blur_file)
    assert result.returncode == 0
    assert "passed" in result.stdout
    zeros = bytes(4 * 16)
    wrong = Golden((1, 4, 4, 1), zeros, np.ones(16, np.float32).tobytes(), 1e-5)
    (tmp_path / "wrong.onnx").write_bytes(make_model(golden=wrong))
    result = dae_run("--self-test", "-m", tmp_path / "wrong.onnx")
    assert result.returncode == 1
    assert "largest error 1 (allowed 1e-05)" in result.stdout


def test_the_other_actions(dae_run):
    assert dae_run("--version").stdout.strip().endswith(__version__)
    assert "Exit codes" in dae_run("--help").stdout
    models = dae_run("--list-models")
    assert models.returncode == 0
    assert models.stdout
    doctor = dae_run("--doctor")
    assert "onnxruntime" in doctor.stdout
    assert "libvips" in doctor.stdout
    assert "threads" in doctor.stdout
    assert (doctor.returncode == 0) == ("no problems found" in doctor.stdout)


def test_bundled_models_are_listed(tmp_path, make_model, monkeypatch, capsys):
    from dae_runtime.cli import command as cli
    from dae_runtime.models import bundled as models

    monkeypatch.setattr(models, "MODEL_FOLDER", tmp_path)
    assert cli._list_models() == 0
    assert "no models" in capsys.readouterr().out
    (tmp_path / "tiny.onnx").write_bytes(make_model())
    (tmp_path / "whole.onnx").write_bytes(make_model(noise="none"))
    assert cli._list_models() == 0
    assert re.match(r"tiny .*gray, fp32, noise gaussian:0\.1.*\nwhole .*, pairs of images", capsys.readouterr().out)


def test_the_default_is_the_bundled_models(tmp_path, images, make_model, run_python):
    """Gray images and color images have a model each; both are tested, and count as what a run was made with."""
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


def test_a_reader_that_goes_away_is_no_crash(tmp_path, images, dae_run):
    for index in range(3, 2000):
        os.link(images / "0.png", images / f"{index}.png")
    code = "import sys; from dae_runtime.cli import main; main()"
    arguments = [sys.executable, "-c", code, "--dry-run", str(images), str(tmp_path / "out")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_interrupting_leaves_whole_files_and_exit_code_130(tmp_path, blur_file):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write_image(folder / "0.png", Image(random_pixels((300, 300, 3))))
    for index in range(1, 1500):
        os.link(folder / "0.png", folder / f"{index}.png")
    arguments = [sys.executable, "-m", "dae_runtime", "-m", str(blur_file), str(folder), str(out)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not any(out.glob("[0-9]*.png")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert b"Traceback" not in error
    written = [path for path in out.iterdir() if not path.name.startswith(TEMPORARY_PREFIX)]
    assert 0 < len(written) < 1500
    for path in written:
        assert read_image(path).pixels.shape == (300, 300, 3)


def run_on_terminal(*arguments):
    """Run Python with a terminal as standard error; return the process and what the terminal got."""
    terminal, end = pty.openpty()
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(command, stderr=end, stdout=subprocess.PIPE, timeout=60, check=False)
    os.close(end)
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # a pseudo-terminal that is read out
        pass
    os.close(terminal)
    return result, shown


def test_a_terminal_gets_a_progress_bar(tmp_path, images, blur_file):
    result, shown = run_on_terminal("-m", "dae_runtime", "-m", blur_file, images, tmp_path / "out")
    assert result.returncode == 0
    assert b"denoising" in shown
    assert b"3/3" in shown
    assert result.stdout.startswith(b"3 of 3 files")


def test_a_terminal_gets_the_progress_within_a_large_image(tmp_path, blur_file):
    write_image(tmp_path / "a.png", Image(random_pixels((1200, 1200))))
    code = "from dae_runtime import cli; from dae_runtime.cli import progress; progress.REDRAW_S = 0; cli.main()"
    result, shown = run_on_terminal("-c", code, "-m", blur_file, tmp_path / "a.png", tmp_path / "b.png")
    assert result.returncode == 0
    assert re.findall(rb"0/1  (\d+) parts", shown) == [b"%d" % number for number in range(2, 10)]  # three by three tiles


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_the_terminal_cannot_print(tmp_path, dae_run, encoding):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("色.png", os.fsdecode(b"\xff.png")):
        (folder / name).touch()
    result = dae_run("--dry-run", folder, tmp_path / "out", env={**os.environ, "PYTHONIOENCODING": encoding})
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2


def outputs(folder):
    """Return the content of every file but the manifest, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".jsonl"}


def test_resuming_does_only_what_is_not_complete(tmp_path, images, blur_file, dae_run):
    (images / "3.png").write_text("text")
    command = ("-m", blur_file, images, tmp_path / "out", "--resume")
    first = dae_run(*command)
    assert first.returncode == 3, first.stderr
    assert "3 of 4 files denoised, 1 failed" in first.stdout
    complete = outputs(tmp_path / "out")
    (tmp_path / "out" / "0.png").write_bytes(complete["0.png"][:50])
    (tmp_path / "out" / "1.png").unlink()
    abandoned = tmp_path / "out" / f"{TEMPORARY_PREFIX}left.png"
    abandoned.touch()
    os.utime(abandoned, (0, 0))
    planned = dae_run("--dry-run", *command)
    marks = [line.partition("  (")[2].partition(":")[0] for line in planned.stdout.splitlines()]
    assert (planned.returncode, marks) == (0, ["exists", "", "complete already", "failed before"])
    second = dae_run(*command)
    assert re.search(r"^failed before: \S*/3\.png: .*no PNG", second.stderr, re.MULTILINE)
    assert "--retry-failed" in second.stderr
    assert "--retry-failed" not in dae_run("-q", *command).stderr
    assert second.returncode == 3
    assert "2 of 4 files denoised, 1 complete already, 1 failed" in second.stdout
    assert outputs(tmp_path / "out") == complete

    write_image(images / "3.png", Image(random_pixels((10, 12), 3)))
    third = dae_run(*command, "--retry-failed")
    assert third.returncode == 0
    assert "1 of 4 files denoised, 3 complete already, 0 failed" in third.stdout
    fourth = dae_run(*command)
    assert "0 of 4 files denoised, 4 complete already" in fourth.stdout


def test_outputs_of_another_model_or_strength_are_replaced_only_when_told_to(
    tmp_path, images, make_model, identity_kernel, blur_file, dae_run
):
    command = (images, tmp_path / "out", "--resume")
    assert dae_run("-m", blur_file, *command).returncode == 0
    complete = outputs(tmp_path / "out")
    (tmp_path / "out" / "2.png").unlink()
    (tmp_path / "identity.onnx").write_bytes(make_model(identity_kernel))
    for change, words in (
        (("-m", blur_file, "--strength", "0.5"), "strength 1 instead of 0.5"),
        (("-m", tmp_path / "identity.onnx"), "another model"),
    ):
        refused = dae_run(*change, *command)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert re.fullmatch(rf"error: 2 outputs .* {words}.*0\.png.*1\.png\. .*--overwrite.*\n", refused.stderr)
        planned = dae_run(*change, *command, "--dry-run")
        assert (planned.returncode, planned.stderr) == (1, refused.stderr)
        assert planned.stdout.count("another model or strength: refused") == 2
        assert len(planned.stdout.splitlines()) == 3
    assert outputs(tmp_path / "out").items() <= complete.items()
    done = dae_run(*change, *command, "--overwrite")
    assert "3 of 3 files denoised, 0 failed" in done.stdout
    for path in images.iterdir():
        np.testing.assert_array_equal(read_image(tmp_path / "out" / path.name).pixels, read_image(path).pixels)


def test_resuming_without_a_manifest_replaces_nothing(tmp_path, images, blur_file, dae_run):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.png").write_text("somebody else's")
    result = dae_run("-m", blur_file, images, tmp_path / "out", "--resume")
    assert result.returncode == 1
    assert "--overwrite" in result.stderr
    assert "out/dae-manifest.jsonl is missing" in result.stderr
    assert (tmp_path / "out" / "1.png").read_text() == "somebody else's"


def start(*arguments, **options):
    command = [sys.executable, "-m", "dae_runtime", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_is_resumed_to_the_same_outputs(tmp_path, blur_file, dae_run, kind):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for index in range(60):
        write_image(folder / f"{index}.png", Image(random_pixels((250, 300, 3), index)))
    command = ("-m", blur_file, folder, out, "--resume", "--threads", "1")
    with start(*command) as process:
        wait_until(lambda: out.exists() and len(list(out.glob("[0-9]*.png"))) > 4)
        process.send_signal(kind)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if kind == signal.SIGKILL else 130)
    done = len(list(out.glob("[0-9]*.png")))
    assert done < 60
    if kind != signal.SIGKILL:
        assert b"interrupted" in errors
        assert b"Traceback" not in errors
        assert list(out.glob(f"{TEMPORARY_PREFIX}*")) == []
        assert (out / "dae-manifest.jsonl").read_bytes().count(b'"status": "done"') == done
    resumed = dae_run(*command)
    assert resumed.returncode == 0, resumed.stderr
    assert "complete already" in resumed.stdout
    whole = dae_run("-m", blur_file, folder, tmp_path / "whole")
    assert whole.returncode == 0
    assert outputs(out) == outputs(tmp_path / "whole")


def test_standard_input_and_output(tmp_path, images, blur_file, blur, run_python):
    data = (images / "0.png").read_bytes()
    expected = blur.denoise(read_image(images / "0.png").pixels)

    def run(*arguments, content=b""):
        command = [sys.executable, "-m", "dae_runtime", "-m", str(blur_file), *map(str, arguments)]
        return subprocess.run(command, input=content, capture_output=True, timeout=60, check=False)

    both = run("-", "-", content=data)
    assert both.returncode == 0, both.stderr
    (tmp_path / "both.png").write_bytes(both.stdout)
    (tmp_path / "out.tif").write_bytes(run(images / "0.png", "-", "--format", "tif").stdout)
    assert run("-", tmp_path / "in.pgm", content=data).returncode == 0
    for name in ("both.png", "out.tif", "in.pgm"):
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels, expected)
    (tmp_path / "gray.ppm").write_bytes(run("-", "-", "--format", "ppm", content=data).stdout)
    np.testing.assert_array_equal(read_image(tmp_path / "gray.ppm").pixels, np.repeat(expected[..., None], 3, axis=-1))
    again = run("-", tmp_path / "in.pgm", content=data)
    assert (again.returncode, b"--overwrite" in again.stderr) == (1, True)
    broken = run("-", "-", content=data[:60])
    assert (broken.returncode, broken.stdout) == (1, b"")
    assert broken.stderr.splitlines()[-1].startswith(b"error: the image: ")


def test_raw_frames_through_a_pipe(tmp_path, blur_file, blur):
    frames = random_pixels((25, 12, 16, 3))
    command = [sys.executable, "-m", "dae_runtime", "-m", str(blur_file), "--raw", "16x12x3"]
    result = subprocess.run(command, input=frames.tobytes(), capture_output=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(np.frombuffer(result.stdout, np.uint8).reshape(frames.shape), blur.denoise(frames))
    assert b"25 frames denoised" in result.stderr
    (tmp_path / "frames").write_bytes(frames.tobytes()[:-1])
    result = subprocess.run([*command, str(tmp_path / "frames"), "-"], capture_output=True, timeout=60, check=False)
    assert result.returncode == 1
    assert b"within frame 24" in result.stderr
    assert result.stdout == blur.denoise(frames[:24]).tobytes()


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("{in}", "{out}", "--strength", "1.5"), "0<=x<=1"),
        (("{in}", "{out}", "--watch", "--resume"), "--resume has no use with --watch"),
        (("{in}/0.png", "{out}", "--watch"), "not a folder"),
        (("-", "-", "--resume"), "--resume has no use with standard input or output"),
        (("-", "{out}"), "needs a file as output (.png, "),
        (("-", "{in}"), "needs a file as output (.png, "),
        (("-", "{out}.png", "--format", "tif"), "leave out --format"),
        (("-", "-", "--format", "gif"), "'gif'"),
        (("{in}", "-"), "takes one image, and {in} is a folder"),
        (("{in}/*.png", "-"), "is no file"),
        (("--raw", "10", "-", "-"), "1920x1080x3"),
        (("--raw", "10x10", "-", "-", "--watch"), "--watch has no use with --raw"),
        (("--raw", "10x10", "{in}/0.png", "{out}", "--recursive"), "--recursive has no use with --raw"),
    ],
)
def test_wrong_usage_of_streams_and_folders(tmp_path, images, blur_file, dae_run, arguments, words):
    names = {"in": images, "out": tmp_path / "out"}
    result = dae_run("-m", blur_file, *(argument.format(**names) for argument in arguments), stdin=subprocess.DEVNULL)
    assert result.returncode == 2, result.stderr
    assert words.format(**names) in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("out*"))


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


# Root may write everywhere; without its capabilities it is told off like anybody else (capset(2), version 3).
POWERLESS = """
import ctypes
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
from dae_runtime.cli import main
main()
"""


@pytest.mark.parametrize("extra", [(), ("--dry-run",), ("--watch",)])
@pytest.mark.parametrize("output", ["locked", "locked/new"])
def test_a_folder_that_cannot_be_written_is_one_error(tmp_path, images, blur_file, run_python, output, extra):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0o555)
    result = run_python("-c", POWERLESS, "-m", blur_file, images, tmp_path / output, *extra)
    (tmp_path / "locked").chmod(0o755)
    assert result.returncode == 1
    assert re.fullmatch(r"error: the folder .* cannot be .*Permission denied.*\n", result.stderr)


@pytest.mark.parametrize(
    ("package", "options", "told"), [("onnxruntime", (), False), ("onnxruntime", ("-v",), True), ("onnxruntime-gpu", (), True)]
)
def test_the_device_is_news_only_where_there_was_a_choice(tmp_path, images, blur_file, run_python, package, options, told):
    code = (
        "from dae_runtime import cli\nfrom dae_runtime.engine import packages\n"
        f"packages.installed_engines = lambda: {{{package!r}: '1.0'}}\n"
        "cli.main()"
    )
    result = run_python("-c", code, "-m", blur_file, images / "0.png", tmp_path / "a.png", *options)
    assert result.returncode == 0
    assert ("running on" in result.stderr) == told


def test_quiet_prints_only_errors(tmp_path, images, blur_file, dae_run):
    (images / "a.gif").touch()
    loud = dae_run("-m", blur_file, images, tmp_path / "a")
    assert "1 image passed over" in loud.stderr
    quiet = dae_run("-q", "-m", blur_file, images, tmp_path / "b")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_a_lossy_name_of_a_lossless_file_is_told_once(tmp_path, images, blur_file, dae_run):
    for index in range(7):
        write_image(tmp_path / "a.png", Image(random_pixels((10, 12))))
        (tmp_path / "a.png").rename(images / f"{index}.jpg")
    result = dae_run("-m", blur_file, images, tmp_path / "out")
    (line,) = (line for line in result.stderr.splitlines() if "lossless" in line)
    assert line.startswith("7 files")
    assert "in/0.jpg, " in line
    assert "in/4.jpg, and 2 more." in line
    assert read_image(tmp_path / "out" / "0.jpg").kind == "jpeg"


def test_bits_that_a_format_cannot_hold_are_told_once(tmp_path, blur_file, dae_run):
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        write_image(tmp_path / "in" / f"{name}.png", Image(random_pixels((10, 12)).astype(np.uint16) * 257))
    write_image(tmp_path / "in" / "c.png", Image(random_pixels((10, 12))))
    kept = dae_run("-m", blur_file, tmp_path / "in", tmp_path / "kept", "--format", "tif")
    assert "16 bits" not in kept.stderr
    cut = dae_run("-m", blur_file, tmp_path / "in", tmp_path / "cut", "--format", "bmp")
    (line,) = (line for line in cut.stderr.splitlines() if "16 bits" in line)
    assert line.startswith("2 files of 16 bits written with 8")
    assert line.endswith("in/b.png. Write PNG or TIFF to keep every bit")


def test_folders_that_are_left_out_are_told(tmp_path, images, blur_file, dae_run):
    alone = dae_run("-m", blur_file, images, tmp_path / "a")
    (images / "more").mkdir()
    flat = dae_run("-m", blur_file, images, tmp_path / "b")
    deep = dae_run("-m", blur_file, images, tmp_path / "c", "-r")
    assert ["sub-folders" in result.stderr for result in (alone, flat, deep)] == [False, True, False]


def test_references_of_which_none_fits_are_refused(tmp_path, images, blur_file, dae_run):
    (tmp_path / "clean").mkdir()
    result = dae_run("-m", blur_file, images, tmp_path / "out", "--reference", tmp_path / "clean")
    assert result.returncode == 2
    assert "holds no image of the name of an input, as 0.png" in result.stderr
    assert not (tmp_path / "out").exists()


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
            *(["color"] if source == "in" else []),
        }
        (tmp_path / "r.html").unlink()


def test_a_report_replaces_nothing_that_it_was_not_told_to(tmp_path, images, blur_file, dae_run):
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


def test_raw_output_is_whole_or_not_there(tmp_path, blur_file, dae_run):
    frames, out = tmp_path / "frames.raw", tmp_path / "out.raw"
    frames.write_bytes(bytes(range(192)) * 2 + b"part of a frame")
    command = ("-m", blur_file, "--raw", "16x12x1", frames)
    assert dae_run(*command, out).returncode == 1
    assert not out.exists()
    out.write_bytes(b"mine")
    assert dae_run(*command, out, "--overwrite").returncode == 1
    assert out.read_bytes() == b"mine"
    before = frames.read_bytes()
    assert dae_run(*command, frames, "--overwrite").returncode == 2
    assert frames.read_bytes() == before
    frames.write_bytes(before[:384])
    assert dae_run(*command, out, "--overwrite").returncode == 0
    assert out.stat().st_size == 384
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".raw") == ["frames.raw", "out.raw"]


def test_mistakes_in_options_are_usage_errors(tmp_path, images, blur_file, dae_run):
    for wrong in (("--suffix", "/../evil"), ("--strength", "nan")):
        done = dae_run("-m", blur_file, images, tmp_path / "out", *wrong)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr


def test_a_full_standard_output_is_one_line(images, blur_file):
    command = f"{sys.executable} -m dae_runtime -m {blur_file} - - < {images / '0.png'} > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_model_those_in_the_box_are_taken(tmp_path, images, dae_run):
    result = dae_run(images, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "with gray" in result.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in images.iterdir())


def test_resuming_replaces_no_file_of_others(tmp_path, images, blur_file, dae_run):
    out = tmp_path / "out"
    assert dae_run("-m", blur_file, images, out, "--resume").returncode == 0
    first = sorted(images.iterdir())[0]
    (images / "late.png").write_bytes(first.read_bytes())
    (out / "late.png").write_text("precious")
    write_image(out / first.name, Image(random_pixels((5, 6), 99)), overwrite=True)
    retouched = (out / first.name).read_bytes()
    plan = dae_run("-m", blur_file, images, out, "--resume", "--dry-run")
    assert plan.stdout.count("not of the run to resume") == 2
    result = dae_run("-m", blur_file, images, out, "--resume")
    assert result.returncode == plan.returncode == 1
    assert "2 files where outputs belong are not of the run" in result.stderr
    assert "--overwrite" in result.stderr
    assert ((out / "late.png").read_text(), (out / first.name).read_bytes()) == ("precious", retouched)
    assert dae_run("-m", blur_file, images, out, "--resume", "--overwrite").returncode == 0
    assert (out / "late.png").read_bytes() == (out / first.name).read_bytes()
