"""Tiny models with true contracts, built without any training framework, and commands run as real processes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from dae_runtime import Denoiser
from dae_runtime.contract import METADATA_KEY, Calibration, Contract, Golden, Parity, to_json

BLUR = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16
IDENTITY = np.pad(np.ones((1, 1), np.float32), 1)


def _graph(kernel: np.ndarray, channels: int, io_dtype: str, alignment: int, size: tuple[int, int] | None) -> onnx.ModelProto:
    """One depthwise 3x3 convolution behind a detour that fails unless both sides are multiples of `alignment`."""
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
    if io_dtype == "uint8":
        add("QuantizeLinear", "scale", "zero")
    nodes[-1].output[0] = "denoised"
    element = TensorProto.UINT8 if io_dtype == "uint8" else TensorProto.FLOAT
    shape = ["N", *(size or ("H", "W")), channels]
    edges = [helper.make_tensor_value_info(name, element, shape) for name in ("noisy", "denoised")]
    graph = helper.make_graph(nodes, "tiny", [edges[0]], [edges[1]], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _golden(model: onnx.ModelProto, channels: int, io_dtype: str, size: tuple[int, int] | None) -> Golden:
    shape = (1, *(size or (8, 12)), channels)
    noisy = np.random.default_rng(7).integers(0, 256, shape).astype(np.uint8)
    if io_dtype == "float32":
        noisy = (noisy / 255).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    denoised = session.run(None, {"noisy": noisy})[0]
    return Golden(shape, noisy.tobytes(), denoised.tobytes(), 1.0 if io_dtype == "uint8" else 1e-5)


def _make_model(
    kernel: np.ndarray = BLUR,
    channels: int = 1,
    io_dtype: str = "float32",
    alignment: int = 1,
    size: tuple[int, int] | None = None,
    metadata: str | None = None,
    **changes: Any,
) -> bytes:
    model = _graph(kernel, channels, io_dtype, alignment, size)
    contract = Contract(
        name="tiny",
        preset="test",
        channels=channels,
        io_dtype=io_dtype,
        height_px=size[0] if size else None,
        width_px=size[1] if size else None,
        alignment_px=alignment,
        halo_px=1,
        noise="gaussian:0.1",
        precision="int8" if io_dtype == "uint8" else "fp32",
        parity=Parity(0.0, 1e-5, ((1, 8, 8, channels),)),
        golden=_golden(model, channels, io_dtype, size),
        calibration=Calibration("minmax", 8, "random pixels") if io_dtype == "uint8" else None,
    )
    text = to_json(dataclasses.replace(contract, **changes)) if metadata is None else metadata
    helper.set_model_props(model, {METADATA_KEY: text} if text else {})
    return model.SerializeToString()


@pytest.fixture(scope="session")
def make_model() -> Callable[..., bytes]:
    """Build a model: kernel (3, 3), channels, io_dtype, alignment, size, metadata text ("" for none), contract fields."""
    return _make_model


@pytest.fixture(scope="session")
def identity_kernel() -> np.ndarray:
    return IDENTITY


@pytest.fixture(scope="session")
def blur_kernel() -> np.ndarray:
    return BLUR


@pytest.fixture(scope="session")
def identity() -> Denoiser:
    """Float model, gray, alignment 4, whose output is its input."""
    return Denoiser(_make_model(IDENTITY, alignment=4), device="cpu", threads=1)


@pytest.fixture(scope="session")
def blur() -> Denoiser:
    """Float model, gray, alignment 4, a binomial blur."""
    return Denoiser(_make_model(alignment=4), device="cpu", threads=1)


@pytest.fixture(scope="session")
def blur_bytes() -> bytes:
    return _make_model(alignment=4)


@pytest.fixture
def blur_file(tmp_path: Path) -> Path:
    path = tmp_path / "blur.onnx"
    path.write_bytes(_make_model(alignment=4))
    return path


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python code or a module in a fresh process."""

    def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, errors="replace", **options)

    return run


@pytest.fixture(scope="session")
def dae_run(run_python: Callable[..., Any]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `dae-run` in a fresh process."""
    return lambda *arguments, **options: run_python("-m", "dae_runtime", *arguments, **options)


@pytest.fixture(scope="session")
def turns():
    """What makes an image (H, W, C) upright, by its orientation from 1 to 8."""
    return {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a),
    }
