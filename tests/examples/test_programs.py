from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import numpy as np
import pytest

from builders import random_pixels
from dae_runtime import Denoiser
from dae_runtime.images import Image, read_image, write_image

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_embed(model_file, run_example, tmp_path):
    write_image(tmp_path / "noisy.png", Image(random_pixels((30, 41))))
    result = run_example("embed", model_file, tmp_path / "noisy.png", tmp_path / "clean.png")
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(
        read_image(tmp_path / "clean.png").pixels, Denoiser(model_file, "cpu").denoise(random_pixels((30, 41)))
    )
    pages = Image(random_pixels((90, 41)), pages=3)
    write_image(tmp_path / "noisy.tif", pages)
    assert run_example("embed", model_file, tmp_path / "noisy.tif", tmp_path / "clean.tif").returncode == 0
    expected = Denoiser(model_file, "cpu").denoise(pages.page_pixels)  # no page sees its neighbors
    np.testing.assert_array_equal(read_image(tmp_path / "clean.tif").page_pixels, expected)
    usage = run_example("embed", model_file)
    assert usage.returncode == 1
    assert "embed.py model.onnx noisy.png clean.png" in usage.stderr


def test_folder(model_file, run_example, tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for number in range(5):
        write_image(tmp_path / "in" / "sub" / f"{number}.png", Image(random_pixels((30, 41), seed=number)))
    (tmp_path / "in" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for done, before in ((5, 0), (0, 5)):
        result = run_example("folder", model_file, tmp_path / "in", tmp_path / "out")
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(f"{done} done, {before} done before, 1 failed in ")
        assert f"failed: {tmp_path}/in/bad.png: " in result.stdout
        assert ("6 of 6" in result.stderr) == (done == 5)
    denoiser = Denoiser(model_file, "cpu")
    for number in range(5):
        written = read_image(tmp_path / "out" / "sub" / f"{number}.png").pixels
        np.testing.assert_array_equal(written, denoiser.denoise(random_pixels((30, 41), seed=number)))


def test_the_folder_run_of_the_documentation(model_file, tmp_path, monkeypatch, capsys):
    text = (EXAMPLES.parent / "docs" / "embedding.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(from dae_runtime import [^`]*run_folder.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(model_file.read_bytes())
    (tmp_path / "noisy").mkdir()
    write_image(tmp_path / "noisy" / "a.png", Image(random_pixels((30, 41))))
    for printed in ("1 0 []", "0 1 []"):
        exec(code, {})
        assert capsys.readouterr().out.strip() == printed
    np.testing.assert_array_equal(
        read_image(tmp_path / "clean" / "a.png").pixels, Denoiser(model_file, "cpu").denoise(random_pixels((30, 41)))
    )
    assert (tmp_path / "report.html").exists()


def test_thread_pool(model_file, run_example, tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(7):
        write_image(tmp_path / "in" / f"{number}.png", Image(random_pixels((30 + number, 41, 3), seed=number)))
    (tmp_path / "in" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = run_example("thread_pool", model_file, tmp_path / "in", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert [line.split(": ")[0] for line in result.stdout.splitlines()].count("failed") == 1
    denoiser = Denoiser(model_file, "cpu")
    for number in range(7):
        expected = denoiser.denoise(random_pixels((30 + number, 41, 3), seed=number))
        np.testing.assert_array_equal(read_image(tmp_path / "out" / f"{number}.png").pixels, expected)


def test_video_frames(load_example, model_file):
    video_pipe = load_example("video_pipe")
    video = video_pipe.Video(8, 6, "25/1")
    frames = [random_pixels((6, 8, 3), seed=seed) for seed in range(5)]
    stream = io.BytesIO(b"".join(frame.tobytes() for frame in frames))
    denoiser = Denoiser(model_file, "cpu")
    for frame, clean in zip(frames, denoiser.stream(video_pipe.read_frames(stream, video), batch_size=2), strict=True):
        np.testing.assert_array_equal(clean, denoiser.denoise(frame))
    with pytest.raises(EOFError, match="within a frame"):
        list(video_pipe.read_frames(io.BytesIO(b"x" * 150), video))


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.name)
def test_every_example_says_how_it_is_run(path):
    text = path.read_text("utf-8")
    if '__name__ == "__main__"' in text or path.parent == EXAMPLES:  # not a module of one of them
        assert f"python examples/{path.relative_to(EXAMPLES)}" in ast.get_docstring(ast.parse(text))
    assert len(path.read_text("utf-8").splitlines()) < 300
