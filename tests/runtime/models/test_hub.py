"""Models on the Hugging Face Hub: loaded, cached, and each failure as one clear error."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from builders import random_pixels
from dae_runtime import Denoiser, ModelError
from dae_runtime.images import Image, read_image, write_image
from hub_server import COMMIT, Hub, Repository, running_hub

pytestmark = pytest.mark.slow
TOKEN = "hf_secret"
LOOK = """
import json, sys
from dae_runtime import DaeError, Denoiser
said = {}
for address in sys.argv[1:]:
    try:
        with Denoiser(address, "cpu", 1) as denoiser:
            said[address] = [str(path) for path in denoiser.sources][0]
    except DaeError as error:
        said[address] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as server:
        yield server


def environment(hub: Hub, home: Path, **more: str) -> dict[str, str]:
    left = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "http", "HTTP"))}
    return {**left, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), **more}


def run(hub: Hub, home: Path, *command: object, **more: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, *map(str, command)]
    return subprocess.run(
        words, capture_output=True, text=True, timeout=300, check=False, env=environment(hub, home, **more), cwd=home
    )


def look(hub: Hub, home: Path, *addresses: str, **more: str) -> dict[str, str]:
    """Open addresses in a process of its own; return the file of each, or its error."""
    done = run(hub, home, "-c", LOOK, *addresses, **more)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_run_with_a_model_of_the_hub_says_which_it_was_and_works_offline_afterwards(hub, tmp_path, blur_bytes):
    hub.repositories["ann/blur"] = Repository({"README.md": b"#", "models/blur.onnx": blur_bytes})
    pixels = random_pixels((20, 30))
    write_image(tmp_path / "a.png", Image(pixels))
    run_it = ("-m", "dae_runtime", "-m", "hf://ann/blur", "a.png", "b.png", "--manifest", "runs.jsonl", "--overwrite")
    done = run(hub, tmp_path, *run_it)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(read_image(tmp_path / "b.png").pixels, Denoiser(blur_bytes, "cpu").denoise(pixels))
    digest = hashlib.sha256(blur_bytes).hexdigest()
    assert f"hf://ann/blur: commit {COMMIT}, SHA-256 {digest}" in done.stderr
    assert digest in (tmp_path / "runs.jsonl").read_text()
    snapshot = tmp_path / "hub" / "models--ann--blur" / "snapshots" / COMMIT  # where other programs look, too
    assert (snapshot / "models" / "blur.onnx").read_bytes() == blur_bytes
    requests = len(hub.seen)
    offline = run(hub, tmp_path, *run_it, HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    assert digest in offline.stderr
    assert len(hub.seen) == requests
    found = look(Hub("http://127.0.0.1:9"), tmp_path, "hf://ann/blur", "hf://ann/blur/models/blur.onnx", "hf://ann/other")
    assert found["hf://ann/blur"] == found["hf://ann/blur/models/blur.onnx"] == str(snapshot / "models" / "blur.onnx")
    assert found["hf://ann/other"].startswith("ModelError: hf://ann/other cannot be loaded: ")


def test_what_can_go_wrong_is_said(hub, tmp_path, blur_bytes):
    model = {"m.onnx": blur_bytes}
    hub.repositories |= {
        "a/good": Repository(model),
        "a/two": Repository({"x.onnx": blur_bytes, "y.onnx": blur_bytes}),
        "a/none": Repository({"README.md": b"#"}),
        "a/private": Repository(model, refused=(401, "RepoNotFound")),
        "a/gated": Repository(model, refused=(403, "GatedRepo")),
        "a/down": Repository(model, refused=(418, "")),
        "a/cut": Repository(model, cut_at=100),
        "a/changed": Repository(model, told_sha256="0" * 64),
        "a/huge": Repository(model, told_bytes=2**40),
        "a/text": Repository({"m.onnx": b"this is no model"}),
    }
    expected = {
        "hf://a/good@main/m.onnx": "/m.onnx",
        f"hf://a/good@{COMMIT}": "/m.onnx",
        "hf://a/missing": "no such repository, or it is private",
        "hf://a/good@v9/m.onnx": "no such revision",
        "hf://a/good/other.onnx": "no such file",
        "hf://a/two": "holds 2 .onnx files (x.onnx, y.onnx). Name one",
        "hf://a/two/y.onnx": "/y.onnx",
        "hf://a/none": "holds 0 .onnx files",
        "hf://a/private": "set HF_TOKEN",
        "hf://a/gated/m.onnx": "grants access on request",
        "hf://a/down": "418",
        "hf://a/cut/m.onnx": "cannot be loaded",
        "hf://a/changed": f"is damaged: the Hub tells the SHA-256 {'0' * 64}",
        "hf://a/huge": f"says that the file has {2**40} bytes",
        "hf://a/text": "not an ONNX model",
        "hf://a/good/../../x.onnx": "no address of a model",
        "hf://a": "no address of a model",
    }
    said = look(hub, tmp_path, *expected)
    assert {address: words in said[address] for address, words in expected.items()} == dict.fromkeys(expected, True), said
    assert all(text.startswith("ModelError: ") for text in said.values() if not text.startswith("/"))


def test_a_redirect_to_another_host_does_not_get_the_token(hub, tmp_path, blur_bytes):
    with running_hub() as other:
        other.repositories["ann/blur"] = Repository({"m.onnx": blur_bytes})
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        hub.repositories["ann/blur"] = Repository({"m.onnx": blur_bytes}, elsewhere=elsewhere)
        said = look(hub, tmp_path, "hf://ann/blur", HF_TOKEN=TOKEN)
        assert said["hf://ann/blur"].endswith("m.onnx"), said
        assert {token for _, path, token in hub.seen if "ann/blur" in path} == {f"Bearer {TOKEN}"}
        assert other.seen
        assert {authorization for _, _, authorization in other.seen} == {None}


def test_without_the_library_the_extra_is_named(hub, tmp_path):
    code = "import sys\nsys.modules['huggingface_hub'] = None\n" + LOOK
    done = run(hub, tmp_path, "-c", code, "hf://ann/blur")
    assert "MissingDependencyError: a model of the Hugging Face Hub needs huggingface_hub" in done.stdout
    assert "pip install 'edge-denoiser[hub]'" in done.stdout


def test_a_wrong_address_needs_no_library():
    with pytest.raises(ModelError, match="no address of a model"):
        Denoiser("hf://nobody")
