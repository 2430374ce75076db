"""What TensorFlow writes when it is loaded is no part of what `dae-train` says, whoever loads it first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dae_runtime.images import Image, write_image
from dae_train.data import synthetic, textures

pytestmark = pytest.mark.slow
PROGRAM = "from dae_train.cli import main; main()"
MEASURING, MISSING = "measuring correlated noise by making pictures", "error: mnist is not in the Keras cache"
WORDS = ("absl::", "oneDNN", "cuda", "cpu_feature_guard", "XLA")


def correlated(folder: Path) -> str:
    """Write soft gray pictures with noise that is alike in neighbors."""
    folder.mkdir()
    clean = synthetic.make_images(8, 200, 1, seed=3) / np.float32(255)
    for number, image in enumerate(clean):
        grain = textures.blur(np.random.default_rng(number).normal(0, 0.1, image.shape).astype(np.float32), 1)
        noisy = np.clip(textures.blur(image, 2) + grain, 0, 1)
        write_image(folder / f"{number}.png", Image(np.rint(255 * noisy[..., 0]).astype(np.uint8)))
    return str(folder)


@pytest.mark.parametrize(("source", "last"), [("correlated", MEASURING), ("mnist", MISSING)])
def test_no_line_of_tensorflow_is_seen(tmp_path: Path, source: str, last: str) -> None:
    data = ["--noise", f"fit:{correlated(tmp_path / 'in')}", "synthetic"] if source == "correlated" else ["mnist"]
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment |= {"KERAS_HOME": str(tmp_path / "cache"), "https_proxy": "http://127.0.0.1:9"}  # no MNIST, and no network
    line = [sys.executable, "-c", PROGRAM, *data, "--limit", "4", "--device", "cpu", "-o", str(tmp_path / "run")]
    said = []
    with subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for text in process.stderr:
            said.append(text)
            if last in text:
                process.kill()
    assert last in said[-1]
    assert not [text for text in said if any(word in text for word in WORDS)]
