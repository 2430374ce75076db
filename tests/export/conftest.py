"""Seeded Keras networks, run directories made of them, a small ONNX denoiser, and the command as a real process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from builders import model_bytes, tiny_contract
from dae_export.measure import tune
from dae_export.measure.samples import Batches, Samples
from dae_export.precision import Ranges, calibrate
from dae_export.product.model_file import golden_sample
from dae_runtime.contract import ImageSpec

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before the first test imports TensorFlow

Keras = Any


@pytest.fixture(scope="session", autouse=True)
def _short_timings() -> Iterator[None]:
    """Time the forms of a graph for a moment only: which one wins does not matter to these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "TUNING_S", 0.2)
        yield


@pytest.fixture(scope="session")
def keras() -> Keras:
    import keras

    return keras


def _seed_weights(model: Any, seed: int) -> Any:
    """Give every weight a random value that keeps the activations near 1; normalizations get gammas of both signs and 0."""
    rng = np.random.default_rng(seed)
    values = []
    for weight in model.weights:
        shape, kind = tuple(weight.shape), weight.path.rsplit("/", 1)[-1]
        if kind == "moving_variance":
            value = rng.uniform(0.3, 2, shape)
        elif kind == "gamma":
            value = rng.choice([-1.2, -0.5, 0, 0.7, 1.3], shape)
        elif len(shape) < 2:
            value = rng.normal(0, 0.3, shape)
        else:
            # In a transposed convolution the last axis is the input's; the mean of both serves either kind.
            fan = np.prod(shape[:-2]) * (shape[-2] + shape[-1]) / 2
            value = rng.normal(0, 1 / np.sqrt(fan), shape)
        values.append(value.astype(np.float32))
    model.set_weights(values)
    return model


def _after(keras: Keras, x: Any, batch_norm: bool, dropout: bool) -> Any:
    x = keras.layers.LeakyReLU(negative_slope=0.3)(x)
    x = keras.layers.BatchNormalization()(x) if batch_norm else x
    return keras.layers.Dropout(0.25)(x) if dropout else x


@pytest.fixture(scope="session")
def make_v1(keras: Keras) -> Callable[..., Any]:
    """Build the network with a vector latent: nested models "encoder" and "decoder", 28 x 28 x 1."""

    def make(batch_norm: bool = False, dropout: bool = False, seed: int = 0, filters: Sequence[int] = (32, 64, 64, 64)) -> Any:
        layers = keras.layers
        image = x = keras.Input((28, 28, 1))
        for count, stride in zip(filters, (1, 2, 2, 1), strict=True):
            x = _after(keras, layers.Conv2D(count, 3, strides=stride, padding="same")(x), batch_norm, dropout)
        encoder = keras.Model(image, layers.Dense(2)(layers.Flatten()(x)), name="encoder")
        latent = keras.Input((2,))
        x = layers.Reshape((7, 7, filters[3]))(layers.Dense(49 * filters[3])(latent))
        for count, stride in zip((filters[3], filters[2], filters[0]), (1, 2, 2), strict=True):
            x = _after(keras, layers.Conv2DTranspose(count, 3, strides=stride, padding="same")(x), batch_norm, dropout)
        x = layers.Conv2DTranspose(1, 3, padding="same", activation="sigmoid")(x)
        decoder = keras.Model(latent, x, name="decoder")
        whole = keras.Input((28, 28, 1))
        return _seed_weights(keras.Model(whole, decoder(encoder(whole)), name="v1"), seed)

    return make


@pytest.fixture(scope="session")
def make_v2(keras: Keras) -> Callable[..., Any]:
    """Build the network with a convolutional latent, for any image size."""

    def make(
        channels: int = 1,
        batch_norm: bool = False,
        dropout: bool = False,
        seed: int = 0,
        filters: Sequence[int] = (32, 64, 128),
    ) -> Any:
        layers = keras.layers
        image = x = keras.Input((None, None, channels))
        for count, stride in zip(filters, (1, 2, 2), strict=True):
            x = _after(keras, layers.Conv2D(count, 3, strides=stride, padding="same")(x), batch_norm, dropout)
        for count in filters[-2::-1]:
            x = _after(keras, layers.Conv2DTranspose(count, 3, strides=2, padding="same")(x), batch_norm, dropout)
        x = layers.Conv2DTranspose(channels, 3, padding="same", activation="sigmoid")(x)
        return _seed_weights(keras.Model(image, x, name="v2"), seed)

    return make


@pytest.fixture(scope="session")
def make_model(keras: Keras) -> Callable[..., Any]:
    """Build a model from a function of its input, with seeded weights."""

    def make(function: Callable[[Any], Any], shape: tuple[int | None, ...] = (None, None, 1), seed: int = 0) -> Any:
        image = keras.Input(shape)
        return _seed_weights(keras.Model(image, function(image), name="net"), seed)

    return make


@pytest.fixture(scope="session")
def make_leveled(keras: Keras) -> Callable[..., Any]:
    """Build a small residual network that is given the noise level, as dae_train does it; what it computes is random."""

    def make(channels: int = 1, seed: int = 0, filters: int = 16, blocks: int = 1) -> Any:
        layers = keras.layers
        image, sigma = keras.Input((None, None, channels), name="noisy"), keras.Input((1,), name="sigma")
        x = layers.Conv2D(filters, 4, strides=2, padding="same")(image)
        level = layers.Dense(8, activation="relu")(layers.Rescaling(10.0)(sigma))
        x = layers.Add()([x, layers.Reshape((1, 1, filters))(layers.Dense(filters)(level))])
        for _ in range(blocks):
            y = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
            x = layers.Add()([x, layers.Conv2D(filters, 3, padding="same")(y)])
        x = layers.Conv2DTranspose(channels, 4, strides=2, padding="same")(x)
        gain = layers.ReLU(max_value=1.0)(layers.Rescaling(51.0)(sigma))
        x = layers.Multiply()([x, layers.Reshape((1, 1, 1))(gain)])
        return _seed_weights(keras.Model([image, sigma], layers.Add()([image, x]), name="leveled"), seed)

    return make


def noisy_and_clean(count: int, side: int, channels: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return smooth clean images and noisy versions, float32 in [0, 1]."""
    rng = np.random.default_rng(seed)
    position = np.linspace(0, 2 * np.pi, side, endpoint=False)
    phases = rng.uniform(0, 6, (count, 2, 1, 1, channels))
    clean = 0.5 + 0.2 * np.sin(position[:, None, None] + phases[:, 0]) + 0.2 * np.sin(position[:, None] + phases[:, 1])
    noisy = np.clip(clean + 0.1 * rng.standard_normal(clean.shape), 0, 1)
    return noisy.astype(np.float32), clean.astype(np.float32)


@pytest.fixture(scope="session")
def pictures() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return noisy_and_clean


@pytest.fixture(scope="session")
def blur_denoiser() -> onnx.ModelProto:
    """A true denoiser without training, in canonical form: eight noisy copies, blurred and averaged."""
    rng = np.random.default_rng(0)
    gains = rng.uniform(0.5, 1.5, 8)
    first = np.zeros((8, 1, 3, 3))
    first[:, 0, 1, 1] = gains
    second = (np.outer([1, 2, 1], [1, 2, 1]) / 16)[None, None] / gains[:, None, None] / 8
    constants = {"w1": first, "b1": np.full(8, 0.01), "w2": second, "b2": [-0.01 * np.sum(1 / gains) / 8]}
    same = {"kernel_shape": [3, 3], "strides": [1, 1], "dilations": [1, 1], "pads": [1, 1, 1, 1], "group": 1}
    nodes = [
        helper.make_node("Transpose", ["noisy"], ["x"], "transpose_1", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv_1", **same),
        helper.make_node("LeakyRelu", ["c1"], ["a1"], "leakyrelu_1", alpha=0.3),
        helper.make_node("Conv", ["a1", "w2", "b2"], ["c2"], "conv_2", **same),
        helper.make_node("Transpose", ["c2"], ["denoised"], "transpose_2", perm=[0, 2, 3, 1]),
    ]
    dims = ["batch", "height", "width", 1]
    edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in ("noisy", "denoised")]
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "blur", edges[:1], edges[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


@pytest.fixture(scope="session")
def run_onnx() -> Callable[[onnx.ModelProto, np.ndarray], np.ndarray]:
    """Run a model on the CPU without graph optimizations: what is tested is our graph."""

    def run(model: onnx.ModelProto, noisy: np.ndarray) -> np.ndarray:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(None, {model.graph.input[0].name: noisy})[0]

    return run


@pytest.fixture(scope="session")
def make_run(make_v2: Callable[..., Any]) -> Callable[..., Path]:
    """Write a run directory as the training leaves it: model, description and calibration samples."""

    def make(folder: Path, model: Any = None, preset: str = "v2", samples: int | None = 24) -> Path:
        model = model or make_v2(filters=(8, 8, 16))
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / "model.keras")
        channels = model.inputs[0].shape[3]
        (folder / "run.toml").write_text(
            f'[model]\npreset = "{preset}"\nchannels = {channels}\n[noise]\nspec = "gaussian:0.1"\nclip = true\n', "utf-8"
        )
        if samples:
            noisy, clean = noisy_and_clean(samples, 28, channels)
            test_noisy, test_clean = noisy_and_clean(samples, 28, channels, seed=1)
            arrays = {"noisy": noisy, "clean": clean, "test_noisy": test_noisy, "test_clean": test_clean}
            np.savez(folder / "calibration.npz", **arrays)
        return folder

    return make


@pytest.fixture
def make_contract_file(tmp_path: Path, blur_denoiser: onnx.ModelProto) -> Callable[..., Path]:
    """Write a model file, by its name: by default the blur in float32; further arguments are fields of its contract."""

    def make(name: str, model: onnx.ModelProto = blur_denoiser, precision: str = "fp32", **fields: Any) -> Path:
        channels = model.graph.input[0].type.tensor_type.shape.dim[3].dim_value
        noisy, _ = noisy_and_clean(1, 32, channels)
        golden = golden_sample(model.SerializeToString(), noisy, precision, ImageSpec(channels))
        contract = tiny_contract(golden, precision, **{"name": name, "preset": "toy", "halo_px": 2} | fields)
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(model_bytes(model, contract))
        return path

    return make


@pytest.fixture(scope="session")
def dae_export() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command as a process of its own."""

    def run(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        code = "from dae_export.cli import main; main()"
        command = [sys.executable, "-c", code, *map(str, arguments)]
        whole = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"} | environment
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=whole, timeout=300, check=False)

    return run


@pytest.fixture(scope="session")
def batches() -> Callable[[np.ndarray], Batches]:
    """Return the images in batches of eight."""
    return lambda images: Batches(len(images), lambda: (images[i : i + 8] for i in range(0, len(images), 8)))


@pytest.fixture(scope="module")
def samples(pictures, batches) -> Samples:
    noisy, _ = pictures(24, 32)
    test_noisy, test_clean = pictures(20, 32, seed=1)
    return Samples(batches(noisy), batches(test_noisy), batches(test_clean), "sine waves")


@pytest.fixture(scope="module")
def ranges(blur_denoiser, samples) -> Ranges:
    return calibrate(blur_denoiser, samples.calibration)


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_run) -> Path:
    """A run directory named digits."""
    return make_run(tmp_path_factory.mktemp("run") / "digits")
