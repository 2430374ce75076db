"""Layers of the calling program."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dae_export import ExportOptions, KerasFileError, export, export_for
from dae_runtime.engine.session import open_session, run_session

pytestmark = pytest.mark.slow
PLAIN = ExportOptions(rewrite=False, min_psnr_gain=-100.0)
PAGE = Path(__file__).parents[3] / "docs" / "python-api.md"


@pytest.fixture(scope="module")
def scale(keras) -> Any:
    class Scale(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.factor = self.add_weight(shape=(shape[-1],), initializer="random_normal")

        def call(self, x: Any) -> Any:
            return x * self.factor

    return Scale


@pytest.fixture(scope="module")
def file(keras, scale, make_model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("own") / "own.keras"
    make_model(
        lambda x: keras.layers.Conv2D(1, 3, padding="same")(scale()(keras.layers.Conv2D(4, 3, padding="same")(x)))
    ).save(path)
    return path


def test_a_layer_of_the_program_exports_by_name(keras, scale, file, tmp_path):
    result = export(file, tmp_path / "own.onnx", PLAIN, custom_objects={"Scale": scale})
    noisy = np.random.default_rng(0).random((1, 12, 20, 1), np.float32)
    expected = keras.models.load_model(file, compile=False, custom_objects={"Scale": scale})(noisy)
    np.testing.assert_allclose(run_session(open_session(result.path), noisy), expected, atol=1e-5)
    assert result.node_counts["Conv"] == 2  # folded into the convolutions
    for_others = export_for("plain", file, tmp_path / "plain.onnx", PLAIN, custom_objects={"Scale": scale})
    assert for_others.path.is_file()


def test_in_memory_it_needs_no_name_also_in_mixed_precision(keras, scale, tmp_path):
    image = keras.Input((None, None, 1))
    x = scale(dtype="mixed_float16")(keras.layers.Conv2D(1, 3, padding="same", dtype="mixed_float16")(image))
    model = keras.Model(image, keras.layers.Activation("linear", dtype="float32")(x))
    with pytest.raises(KerasFileError, match="cannot be rebuilt in float32"):
        export(model, tmp_path / "own.onnx", PLAIN)
    assert export(model, tmp_path / "own.onnx", PLAIN, custom_objects={"Scale": scale}).path.is_file()


def test_without_its_name_the_error_says_how(file, tmp_path, dae_export):
    with pytest.raises(
        KerasFileError, match=r"needs 'Scale', which is not part of Keras\. .*custom_objects=\{'Scale': \.\.\.\}"
    ):
        export(file, tmp_path / "own.onnx", PLAIN)
    done = dae_export(file, "-o", tmp_path / "own.onnx")
    assert done.returncode == 1
    assert "export in Python with custom_objects" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_example_of_the_page_runs(tmp_path):
    (code,) = re.findall(r"```python\n([^`]*?custom_objects=\{\"Scale\"[^`]*?)```", PAGE.read_text("utf-8"))
    definition, _, call = code.partition("result = ")
    build = """
image = keras.Input((None, None, 1))
x = Scale()(keras.layers.Conv2D(4, 3, padding="same")(image))
keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(x), name="own").save("own.keras")
"""
    for program in (definition + build, definition + "result = " + call):
        line = [sys.executable, "-c", program]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    assert "'Conv': 2" in done.stdout
