"""Models that are written by hand, and the examples as programs of their own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from dae_runtime.contract import METADATA_KEY, Calibration, Contract, Golden, Parity, to_json

EXAMPLES = Path(__file__).parents[2] / "examples"
BLUR = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16


def _model(channels: int) -> bytes:
    """A model of 8-bit pixels that blurs; its sides must be multiples of 4."""
    tensors = [
        numpy_helper.from_array(np.tile(BLUR, (channels, 1, 1, 1)), "weight"),
        numpy_helper.from_array(np.float32(1 / 255), "scale"),
        numpy_helper.from_array(np.uint8(0), "zero"),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["noisy", "scale", "zero"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 3, 1, 2]),
        helper.make_node("SpaceToDepth", ["b"], ["c"], blocksize=4),
        helper.make_node("DepthToSpace", ["c"], ["d"], blocksize=4),
        helper.make_node("Conv", ["d", "weight"], ["e"], group=channels, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["e"], ["f"], perm=[0, 2, 3, 1]),
        helper.make_node("QuantizeLinear", ["f", "scale", "zero"], ["denoised"]),
    ]
    edges = [helper.make_tensor_value_info(n, TensorProto.UINT8, ["N", "H", "W", channels]) for n in ("noisy", "denoised")]
    graph = helper.make_graph(nodes, "blur", edges[:1], edges[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    noisy = np.random.default_rng(0).integers(0, 256, (1, 8, 12, channels)).astype(np.uint8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    contract = Contract(
        name="blur",
        preset="test",
        channels=channels,
        io_dtype="uint8",
        height_px=None,
        width_px=None,
        alignment_px=4,
        halo_px=1,
        noise="gaussian:0.1",
        precision="int8",
        parity=Parity(0.0, 1e-5, ((1, 8, 12, channels),)),
        golden=Golden(noisy.shape, noisy.tobytes(), session.run(None, {"noisy": noisy})[0].tobytes(), 1.0),
        calibration=Calibration("minmax", 8, "random pixels"),
    )
    helper.set_model_props(model, {METADATA_KEY: to_json(contract)})
    return model.SerializeToString()


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gray model of 8-bit pixels."""
    path = tmp_path_factory.mktemp("model") / "blur.onnx"
    path.write_bytes(_model(1))
    return path


@pytest.fixture(scope="session")
def color_model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A color model of 8-bit pixels."""
    path = tmp_path_factory.mktemp("model") / "color.onnx"
    path.write_bytes(_model(3))
    return path


@pytest.fixture(scope="session")
def load_example() -> Callable[[str], ModuleType]:
    """Import an example as a module."""

    def load(name: str) -> ModuleType:
        specification = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[module.__name__] = module  # dataclasses look their module up
        specification.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def run_example() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run an example to its end as a program."""

    def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, EXAMPLES / f"{name}.py", *arguments]
        return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=False)

    return run
