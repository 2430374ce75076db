"""The product on an emulated Haswell, a processor with AVX2 and without VNNI: the same bits as here.

onnxruntime's kernels for such a processor add two neighboring products in 16 bits and cut the sum off at 32767. A model whose
weights let that happen makes a worse picture there, and nothing says so. `make nightly` asks more processors:
check_processors.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from dae_runtime import Denoiser
from dae_runtime.images import read_image

RUN_ON_WHITE = """
import sys, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
print(*session.run(None, {"x": numpy.full((1, 4, 2, 2), 255, numpy.uint8)})[0].ravel().tolist())
"""


@pytest.fixture
def sum_of_four(tmp_path):
    """A model that adds four products of a pixel and 127, and divides by 508: of white it makes 255, or 129 if cut off."""
    one, zero = np.float32(1), np.uint8(0)
    weight, weight_zero = np.full((1, 4, 1, 1), 127, np.int8), np.int8(0)
    values = {"s": one, "z": zero, "w": weight, "wz": weight_zero, "ys": np.float32(508)}
    node = helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "wz", "ys", "z"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.UINT8, [1, n, 2, 2]) for name, n in (("x", 4), ("y", 1)))
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    graph = helper.make_graph([node], "sum", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (tmp_path / "sum.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "sum.onnx"


def test_this_haswell_cuts_off_sums(emulated_haswell, sum_of_four):
    """Without this the other tests say nothing: the engine must have taken the kernels for the emulated processor."""
    result = emulated_haswell.run("-c", RUN_ON_WHITE, sum_of_four)
    assert result.stdout.split() == ["129"] * 4, result.stderr


@pytest.mark.parametrize("model", ["gray", "digits"])
def test_the_self_test_passes(emulated_haswell, model):
    result = emulated_haswell.dae_run("-m", model, "--self-test", "--device", "cpu")
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_folder_becomes_the_same_picture(emulated_haswell, pictures, tmp_path):
    (tmp_path / "in").mkdir()
    noisy = tmp_path / "in" / "coffee-odd.png"
    noisy.write_bytes((pictures / noisy.name).read_bytes())
    result = emulated_haswell.dae_run(noisy.parent, tmp_path / "out", "--device", "cpu")
    assert result.returncode == 0, result.stderr
    expected = Denoiser(device="cpu").denoise(read_image(noisy).pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "out" / noisy.name).pixels, expected)


def test_integer_layers_of_every_kind_are_exact_within_the_limit_on_neighbors(emulated_haswell):
    """The pairs that the exporter limits are those that this engine's kernels add, for every kind of layer."""
    script = Path(__file__).with_name("integer_layers.py")
    limited, unlimited = (emulated_haswell.run(script, *words).stdout.splitlines() for words in ((), ("unlimited",)))
    assert len(limited) == len(unlimited) == 11
    assert [line for line in limited if not line.endswith("; 0")] == []
    wrong = [line for line in unlimited if not line.endswith("; 0")]
    assert len(wrong) == 9  # all but the depthwise ones, whose kernels have no pairs
