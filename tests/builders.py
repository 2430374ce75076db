"""What tests of several rooms are made of: pixels, tiny ONNX models with true contracts, small networks, and waiting."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import onnx
import onnxruntime
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from dae_runtime.contract import EXACT_PAIR_LIMIT, METADATA_KEY, Calibration, Contract, Golden, Parity, SigmaInput, to_json

if TYPE_CHECKING:
    from dae_runtime.contract import RunDirectory
    from dae_train import NetworkSettings, RunConfig

BLUR = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16
IDENTITY = np.pad(np.ones((1, 1), np.float32), 1)
HOURGLASS_HALO_PX = 7


HOURGLASS_LAYERS = (
    # kind, output channels, stride: an encoder and a decoder with a transposed convolution, as `same` padding gives them
    ("Conv", 4, 1),
    ("Conv", 6, 2),
    ("Conv", 6, 1),
    ("ConvTranspose", 4, 2),
    ("Conv", 1, 1),
)


def random_pixels(shape: tuple[int, ...], dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    """Return pixels over the whole range of an integer type; those of a float type lie in [0, 1)."""
    rng = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.floating):
        return rng.random(shape, dtype)
    return rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def golden_of(
    model: onnx.ModelProto, noisy: np.ndarray, max_abs_error: float | None = None, sigma: float | None = None
) -> Golden:
    """Return what the model makes of a batch; by default 8-bit pixels may be off by 1 and floats by 1e-5.

    A model that is given the noise level is given `sigma`.
    """
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    levels = {} if sigma is None else {"sigma": np.full((len(noisy), 1), sigma, np.float32)}
    denoised = session.run(None, {"noisy": noisy, **levels})[0]
    allowed = (1.0 if noisy.dtype == np.uint8 else 1e-5) if max_abs_error is None else max_abs_error
    return Golden(noisy.shape, noisy.tobytes(), denoised.tobytes(), allowed, sigma=sigma)


def tiny_contract(golden: Golden, precision: str = "fp32", /, **fields: Any) -> Contract:
    """Return a contract with a golden sample; further arguments are its fields. An INT8 model gets a calibration."""
    channels = golden.shape[3]
    defaults: dict[str, Any] = {
        "name": "tiny",
        "preset": "test",
        "channels": channels,
        "io_dtype": "float32",
        "height_px": None,
        "width_px": None,
        "alignment_px": 1,
        "halo_px": 1,
        "noise": "gaussian:0.1",
        "precision": precision,
        "parity": Parity(0.0, 1e-5, ((1, 8, 8, channels),)),
        "golden": golden,
        "calibration": Calibration("minmax", 8, "random pixels") if precision == "int8" else None,
        "pair_limit": EXACT_PAIR_LIMIT if precision == "int8" else None,
    }
    return Contract(**defaults | fields)


def model_bytes(model: onnx.ModelProto, contract: Contract | str) -> bytes:
    """Return a model file with a contract, or with a text in its place ("" for none)."""
    text = contract if isinstance(contract, str) else to_json(contract)
    helper.set_model_props(model, {METADATA_KEY: text} if text else {})
    return model.SerializeToString()


def _blur_graph(
    kernel: np.ndarray,
    channels: int,
    io_dtype: str,
    alignment: int,
    size: tuple[int, int] | None,
    gain: float | None = None,
) -> onnx.ModelProto:
    """One depthwise 3x3 convolution behind a detour that fails unless both sides are multiples of `alignment`.

    With a gain the graph has the input `sigma`, and its output is noisy + gain * sigma * (convolution - noisy).
    """
    tensors = [numpy_helper.from_array(np.tile(kernel, (channels, 1, 1, 1)).astype(np.float32), "weight")]
    if io_dtype == "uint8":
        tensors += [numpy_helper.from_array(np.float32(1 / 255), "scale"), numpy_helper.from_array(np.uint8(0), "zero")]
    nodes, last = [], "noisy"

    def add(kind: str, *inputs: str, **attributes: Any) -> None:
        nonlocal last
        output = f"t{len(nodes)}"
        nodes.append(helper.make_node(kind, [last, *inputs], [output], **attributes))
        last = output

    if io_dtype == "uint8":
        add("DequantizeLinear", "scale", "zero")
    add("Transpose", perm=[0, 3, 1, 2])
    if alignment > 1:
        add("SpaceToDepth", blocksize=alignment)
        add("DepthToSpace", blocksize=alignment)
    add("Conv", "weight", group=channels, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    add("Transpose", perm=[0, 2, 3, 1])
    if gain is not None:
        image = nodes[0].output[0] if io_dtype == "uint8" else "noisy"
        tensors.append(numpy_helper.from_array(np.float32(gain), "gain"))
        tensors.append(numpy_helper.from_array(np.int64([-1, 1, 1, 1]), "place"))
        nodes.append(helper.make_node("Reshape", ["sigma", "place"], ["level"]))
        add("Sub", image)
        add("Mul", "level")
        add("Mul", "gain")
        add("Add", image)
    if io_dtype == "uint8":
        add("QuantizeLinear", "scale", "zero")
    nodes[-1].output[0] = "denoised"
    element = TensorProto.UINT8 if io_dtype == "uint8" else TensorProto.FLOAT
    shape = ["N", *(size or ("H", "W")), channels]
    edges = [helper.make_tensor_value_info(name, element, shape) for name in ("noisy", "denoised")]
    sigma = [] if gain is None else [helper.make_tensor_value_info("sigma", TensorProto.FLOAT, ["N", 1])]
    graph = helper.make_graph(nodes, "tiny", [edges[0], *sigma], [edges[1]], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def make_model(
    kernel: np.ndarray = BLUR,
    channels: int = 1,
    io_dtype: str = "float32",
    alignment: int = 1,
    size: tuple[int, int] | None = None,
    metadata: str | None = None,
    gain: float | None = None,
    **changes: Any,
) -> bytes:
    """Build a model file: kernel (3, 3), metadata text in place of the contract ("" for none), fields of the contract.

    With a gain it is given the noise level, of up to 60 of 255: noisy + gain * sigma * (convolution - noisy).
    """
    model = _blur_graph(kernel, channels, io_dtype, alignment, size, gain)
    told = None if gain is None else SigmaInput(0.0, 60 / 255)
    noisy = random_pixels((1, *(size or (8, 12)), channels), seed=7)
    pixels = noisy if io_dtype == "uint8" else (noisy / 255).astype(np.float32)
    golden = golden_of(model, pixels, sigma=None if gain is None else 0.1)
    fields = {"io_dtype": io_dtype, "alignment_px": alignment, "sigma": told} | dict(
        zip(("height_px", "width_px"), size or (), strict=False)
    )
    contract = tiny_contract(golden, "int8" if io_dtype == "uint8" else "fp32", **fields | changes)
    return model_bytes(model, contract if metadata is None else metadata)


def make_hourglass(precision: str, halo_px: int | None = HOURGLASS_HALO_PX) -> bytes:
    """Build a small encoder and decoder with random weights; halo: 1 + 2 + 2 + 2 pixels at most."""
    rng = np.random.default_rng(3)
    nodes, tensors, last, channels = [], [], "noisy", 1

    def add(kind, *inputs, **attributes):
        nonlocal last
        nodes.append(helper.make_node(kind, [last, *inputs], [f"t{len(nodes)}"], **attributes))
        last = nodes[-1].output[0]

    def constant(value):
        tensors.append(numpy_helper.from_array(np.asarray(value), f"c{len(tensors)}"))
        return tensors[-1].name

    def quantized():
        if precision == "int8":
            ends = constant(np.float32(1 / 64)), constant(np.uint8(64))
            add("QuantizeLinear", *ends)
            add("DequantizeLinear", *ends)

    add("Transpose", perm=[0, 3, 1, 2])
    for kind, count, stride in HOURGLASS_LAYERS:
        quantized()
        shape = (count, channels, 3, 3) if kind == "Conv" else (channels, count, 3, 3)
        weights = rng.normal(0, 0.8 / np.sqrt(9 * channels), shape).astype(np.float32)
        pads = [1, 1, 1, 1] if stride == 1 else [0, 0, 1, 1]
        add(kind, constant(weights), kernel_shape=[3, 3], strides=[stride, stride], pads=pads)
        if kind == "ConvTranspose" or count > 1:
            add("LeakyRelu", alpha=0.3)
        channels = count
    add("Sigmoid")
    add("Transpose", perm=[0, 2, 3, 1])
    nodes[-1].output[0] = "denoised"
    edges = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", "H", "W", 1]) for n in ("noisy", "denoised")]
    graph = helper.make_graph(nodes, "net", [edges[0]], [edges[1]], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    golden = golden_of(model, random_pixels((1, 8, 8, 1), np.float32))
    return model_bytes(model, tiny_contract(golden, precision, name="net", alignment_px=2, halo_px=halo_px))


def small_autoencoder(**changes: Any) -> NetworkSettings:
    """Return settings of the tutorial's kind of network with three layers, 4, 8 and 4 wide."""
    from dae_train import preset_settings  # not at the top: the runtime's tests need no training package

    layers = {
        "encoder_filters": (4, 8),
        "encoder_kernels_px": (3, 3),
        "encoder_strides": (1, 2),
        "decoder_filters": (4,),
        "decoder_kernels_px": (3, 3),
        "decoder_strides": (2, 1),
    }
    return preset_settings("v2", **layers | changes)


def short_run(source: Path | str, noise: str | None, **training: Any) -> RunConfig:
    """Return settings of a training of `v2`, of two epochs if nothing else is said."""
    from dae_train import DataSettings, NoiseSettings, RunConfig, TrainingSettings, preset_settings

    return RunConfig(
        model=preset_settings("v2"),
        noise=NoiseSettings(noise),
        data=DataSettings(str(source)),
        training=TrainingSettings(**{"epochs": 2} | training),
    )


def damaged_copies(data: bytes, count: int = 100, head_bytes: int = 1500) -> Iterator[bytes]:
    """Yield copies of a file in which three bytes were changed: near its start in every second one, else anywhere."""
    rng = np.random.default_rng(0)
    for number in range(count):
        damaged = bytearray(data)
        for position in rng.integers(0, min(len(data), head_bytes) if number % 2 else len(data), 3):
            damaged[position] = rng.integers(0, 256)
        yield bytes(damaged)


def peak_mb(process: subprocess.Popen[Any]) -> int:
    """Return the most memory in MiB that a running process ever had."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition; fail after so many seconds."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def wait_until_interruptible(process: subprocess.Popen[Any]) -> None:
    """Wait until a command of the toolkit handles SIGTERM, which Python by itself does not; until then it imports modules."""

    def handles() -> bool:
        assert process.poll() is None
        caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{process.pid}/status").read_text(), re.M)
        return caught is not None and bool(int(caught[1], 16) & 1 << (signal.SIGTERM - 1))

    wait_until(handles)


def invoke(command: click.Command, *arguments: object) -> Result:
    """Run a command in this process, with nothing on standard input, and leave the loggers as they were."""
    loggers = [logging.getLogger(name) for name in ("dae_runtime", "dae_runtime.engine")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    try:
        return CliRunner().invoke(command, [str(argument) for argument in arguments])
    finally:
        for logger, (level, handlers) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.handlers[:] = handlers


def untimed_history(run: RunDirectory) -> list[dict[str, float]]:
    """Return the history of a run without the columns that differ even between identical runs."""
    from dae_train.judging.history import read_history

    timings = ("seconds", "images_per_s", "waiting")
    return [{name: value for name, value in row.items() if name not in timings} for row in read_history(run.history)]


def run_on_jax(script: str, *arguments: Path, timeout_s: int = 300) -> str:
    """Run a script in a process whose Keras uses JAX; return what it prints."""
    line = [sys.executable, "-c", script, *map(str, arguments)]
    on_jax = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run(line, env=on_jax, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
