"""A wrong path, a damaged file or a port that is taken ends every example in one line, with exit code 2."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import random_pixels
from dae_runtime.images import Image, write_image

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def places(tmp_path: Path, model_file: Path) -> dict[str, str]:
    """What arguments name: a model, an image, folders, files that are no model and no image, and nothing."""
    for folder in ("images", "bad"):
        (tmp_path / folder).mkdir()
    write_image(tmp_path / "images" / "a.png", Image(random_pixels((8, 8))))
    for name in ("text.onnx", "bad/a.png", "groups.json"):
        (tmp_path / name).write_text("text")
    (tmp_path / "good.json").write_text(json.dumps([["a"], ["b"]]))
    names = ("images", "images/a.png", "bad", "bad/a.png", "text.onnx", "groups.json", "good.json", "out", "nothing")
    return {"model": str(model_file), **{name: str(tmp_path / name) for name in names}}


def refused(places: dict[str, str], name: str, *arguments: str) -> str:
    """Run an example that is to fail; return its only line."""
    line = [sys.executable, str(EXAMPLES / f"{name}.py"), *(places.get(argument, argument) for argument in arguments)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    text = done.stderr.removesuffix("\n")
    assert text.startswith("error: ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("embed", ("nothing", "images/a.png", "out"), "nothing"),
        ("embed", ("text.onnx", "images/a.png", "out"), "text.onnx"),
        ("embed", ("model", "nothing", "out"), "nothing"),
        ("embed", ("model", "bad/a.png", "out"), "a.png"),
        ("embed", ("model", "images/a.png", "nothing/a"), "a"),
        ("folder", ("nothing", "images", "out"), "nothing"),
        ("folder", ("model", "nothing", "out"), "nothing"),
        ("folder", ("model", "images", "images"), "images"),
        ("thread_pool", ("nothing", "images", "out"), "nothing"),
        ("thread_pool", ("model", "nothing", "out"), "nothing"),
        ("thread_pool", ("model", "images", "text.onnx"), "text.onnx"),
        ("add_noise", ("nothing", "out"), "nothing"),
        ("add_noise", ("bad", "out"), "a.png"),
        ("split_pairs", ("images", "images", "nothing", "out"), "nothing"),
        ("split_pairs", ("images", "images", "groups.json", "out"), "Expecting value"),
        ("split_pairs", ("images", "bad/a.png", "good.json", "out"), "a.png"),
        ("video_pipe", ("model", "nothing", "out"), ""),
        ("service", ("nothing",), "nothing"),
        ("service", ("text.onnx",), "text.onnx"),
        ("service", ("model", "--device", "warp"), "warp"),
        ("inference_server/app", ("nothing",), "nothing"),
        ("inference_server/app", ("text.onnx",), "text.onnx"),
        ("inference_server/load_test", ("127.0.0.1", "images/a.png"), "http://127.0.0.1:8000"),
        ("inference_server/load_test", ("http://127.0.0.1:1", "images/a.png"), "http://127.0.0.1:1"),
        ("inference_server/load_test", ("http://127.0.0.1:x", "images/a.png"), "http://127.0.0.1:x"),
    ],
)
def test_a_wrong_path_is_one_line(places, name, arguments, words):
    assert words in refused(places, name, *arguments)


def test_without_ffmpeg_one_line_says_what_to_install(places, monkeypatch):
    monkeypatch.setenv("PATH", places["images"])
    assert "Install FFmpeg" in refused(places, "video_pipe", "model", "images/a.png", "out")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize("name", ["service", "inference_server/app"])
@pytest.mark.parametrize("where", ["taken", "none", "host"])
def test_a_port_that_cannot_be_used_is_one_line(places, taken, name, where):
    given = {"taken": ("--port", str(taken)), "none": ("--port", "99999"), "host": ("--host", "192.0.2.1")}[where]
    text = refused(places, name, "model", *given)
    assert f"{given[1]}" in text
    assert "cannot be used: " in text
    assert text.endswith("Give another --port or --host.")


def test_the_page_of_the_browser_needs_a_port_too(places, taken, tmp_path):
    (tmp_path / "node_modules" / "onnxruntime-web").mkdir(parents=True)
    for port in (str(taken), "99999"):
        text = refused(places, "browser/serve", "--folder", str(tmp_path), "--port", port)
        assert text.startswith(f"error: port {port} cannot be used: ")
        assert text.endswith("Give another --port.")
