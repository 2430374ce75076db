"""The web service as a process of its own, spoken to over HTTP."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from builders import random_pixels
from dae_runtime import Denoiser
from dae_runtime.images import Image, read_image, write_image

SERVICE = Path(__file__).parents[2] / "examples" / "service.py"


@pytest.fixture(scope="module")
def address(model_file: Path) -> Iterator[str]:
    """Host and port of a running service."""
    command = [sys.executable, str(SERVICE), str(model_file), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            yield urlsplit(service.stdout.readline().split()[-1]).netloc
        finally:
            service.terminate()


def ask(address, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type"), response.read()
    finally:
        connection.close()


def png(tmp_path, seed=0, shape=(30, 41)):
    path = tmp_path / f"{seed}.png"
    write_image(path, Image(random_pixels(shape, seed=seed)))
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "ppm"])
def test_an_image_comes_back_in_its_own_format(address, model_file, tmp_path, suffix):
    source = tmp_path / f"a.{suffix}"
    write_image(source, read_image(png(tmp_path, shape=(30, 41, 3))))
    status, media, body = ask(address, "POST", "/denoise", source.read_bytes())
    assert status == 200
    assert media.startswith("image/")
    received = tmp_path / "received"
    received.write_bytes(body)
    image, before = read_image(received), read_image(source)
    assert image.kind == before.kind
    if suffix in ("png", "tif", "ppm"):
        np.testing.assert_array_equal(image.pixels, Denoiser(model_file, "cpu").denoise(before.pixels))


def test_many_at_once(address, model_file, tmp_path):
    denoiser = Denoiser(model_file, "cpu")
    paths = [png(tmp_path, seed, (40 + seed, 50)) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda path: ask(address, "POST", "/denoise", path.read_bytes()), paths))
    for path, (status, _, body) in zip(paths, answers, strict=True):
        assert status == 200
        (tmp_path / "received").write_bytes(body)
        np.testing.assert_array_equal(read_image(tmp_path / "received").pixels, denoiser.denoise(read_image(path).pixels))


def test_the_model_tells_of_itself(address):
    status, _, body = ask(address, "GET", "/model")
    assert status == 200
    assert json.loads(body)["name"] == "blur"
    assert json.loads(body)["device"] == "cpu"


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/", None, {}, 404),
        ("GET", "/denoise", None, {}, 404),
        ("POST", "/denoise", b"no image", {}, 422),
        ("POST", "/denoise", b"", {}, 422),
        ("POST", "/denoise", b"x", {"Content-Length": "99999999999"}, 413),
        ("POST", "/denoise", b"x", {"Content-Length": "-5"}, 411),
        ("POST", "/denoise", b"x", {"Content-Length": "\u00b2"}, 411),
    ],
)
def test_failed_requests_are_reported(address, method, path, body, headers, status):
    received, media, text = ask(address, method, path, body, headers)
    assert received == status
    assert media == "application/json"
    assert json.loads(text)["error"]


@pytest.mark.parametrize("path", ["/denoise?sigma=8", "/denoise?sigma=8&strength", "/model?x", "/denoise?&a%20b=1"])
def test_what_it_would_ignore_is_refused_by_name(address, model_file, tmp_path, path):
    method = "GET" if path.startswith("/model") else "POST"
    status, _, text = ask(address, method, path, b"image")
    assert status == 400
    for part in filter(None, path.partition("?")[2].split("&")):
        assert part.partition("=")[0] in json.loads(text)["error"]


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(address):
    body = b"P5 60000 60000 255\n"
    status, _, text = ask(address, "POST", "/denoise", body)
    assert status == 422
    assert "60000" in json.loads(text)["error"]
