"""The browser example in headless Chromium: its pixels are those of the runtime."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dae_export import ExportOptions, export_for
from dae_runtime import Denoiser
from dae_runtime.images import Image, write_image

EXAMPLE = Path(__file__).parents[3] / "examples" / "browser"
RESULT = "Array.from(document.getElementById('after').getContext('2d').getImageData(0, 0, {width}, {height}).data)"
PLAIN = [("photo", False), ("photo", True), ("gray-25", False), ("gray-25", True)]
"""Bundled models in the form for other programs: planes of floats."""
REPLAY = """(async () => {{
  const ort = await import("./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs");
  const contract = await (await fetch("{name}.json")).json();
  const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const [, height, width, channels] = contract.golden.shape;
  const planes = (pixels) => Float32Array.from(pixels, (_, i) =>
    pixels[(i % (height * width)) * channels + Math.floor(i / (height * width))]);
  const noisy = planes(floats(contract.golden.noisy)), expected = planes(floats(contract.golden.denoised));
  const feeds = {{ noisy: new ort.Tensor("float32", noisy, [1, channels, height, width]) }};
  if (contract.sigma) feeds.sigma = new ort.Tensor("float32", [contract.golden.sigma], [1, 1]);
  const session = await ort.InferenceSession.create("{name}.onnx", {{ executionProviders: ["wasm"] }});
  const {{ denoised }} = await session.run(feeds);
  const errors = Array.from(denoised.data, (value, i) => Math.abs(value - expected[i]));
  return [denoised.dims, Math.max(...errors), contract.golden.max_abs_error];
}})()"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The example, installed in a folder of its own and served."""
    folder = tmp_path_factory.mktemp("browser") / "site"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, check=True)
    for name, quantize in PLAIN:
        export_for("plain", name, folder / f"{name}-{quantize}.onnx", ExportOptions(quantize=quantize, sidecar=True))
    command = [sys.executable, str(folder / "serve.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def noisy(shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    scene = 128 + 60 * np.sin(x / 40) + 50 * np.cos(y / 25)
    scene = scene if len(shape) == 2 else np.stack([scene, scene[::-1], 255 - scene], axis=-1)
    return np.clip(scene + np.random.default_rng(0).normal(0, 25, shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(64, 96), (61, 83, 3), (333, 500, 3), (1, 1, 3), (2, 5)])
@pytest.mark.parametrize("color", [False, True])
def test_the_pixels_are_those_of_the_runtime(page, address, model_file, color_model_file, tmp_path, shape, color):
    model = color_model_file if color else model_file
    pixels = noisy(shape)
    write_image(tmp_path / "noisy.png", Image(pixels))
    page.open(address)
    page.choose_file("#model", model)
    page.choose_file("#image", tmp_path / "noisy.png")
    page.wait("document.getElementById('status').className !== ''")
    assert page.run("document.getElementById('status').className") == "done", page.run("document.body.innerText")
    received = np.array(page.run(RESULT.format(width=shape[1], height=shape[0])), np.uint8).reshape(*shape[:2], 4)
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    expected = Denoiser(model, "cpu").denoise(rgb)
    assert (received[..., 3] == 255).all()
    assert np.abs(received[..., :3].astype(int) - expected).max() <= 1  # another rounding of the half-way values
    assert all(request.startswith((address, "blob:", "data:")) for request in page.requests)
    assert page.run("crossOriginIsolated")


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (390, False)])
def test_how_it_looks_and_is_used(page, keep_screenshot, address, model_file, tmp_path, width, dark):
    write_image(tmp_path / "noisy.png", Image(noisy((400, 600, 3))))
    page.open(address, width=width, dark=dark)
    page.choose_file("#model", model_file)
    page.wait("document.getElementById('status').textContent === 'Now choose an image.'")
    page.choose_file("#image", tmp_path / "noisy.png")
    page.wait("!document.getElementById('view').hidden")
    page.run("document.getElementById('slider').focus()")
    page.press("Home")
    assert page.run("document.getElementById('view').style.getPropertyValue('--x')") == "0%"
    for _ in range(30):
        page.press("ArrowRight")
    assert page.run("document.getElementById('view').style.getPropertyValue('--x')") == "30%"
    assert page.run("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window"
    keep_screenshot(f"browser-{width}-{'dark' if dark else 'light'}")


def test_an_invalid_model_is_reported(page, address, tmp_path):
    (tmp_path / "text.onnx").write_text("no model")
    page.open(address)
    page.choose_file("#model", tmp_path / "text.onnx")
    page.wait("document.getElementById('status').className === 'error'")
    assert "no model file" in page.run("document.getElementById('status').textContent")


@pytest.mark.parametrize(("name", "quantize"), PLAIN)
def test_a_file_for_other_programs_replays_its_golden_sample(page, address, name, quantize):
    page.open(address)
    shape, largest, allowed = page.run(REPLAY.format(name=f"{name}-{quantize}"))
    assert shape[1] == (1 if name == "gray-25" else 3)
    assert largest <= allowed
