"""The halo is the exact reach of an output pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from dae_export.errors import ConversionError
from dae_export.graph.geometry import image_spec
from dae_export.graph.model import Graph
from dae_runtime.contract import ImageSpec

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@dataclass(frozen=True)
class Stack:
    """Down, through the middle, up again; optionally beside a branch at full size."""

    downs: tuple[tuple[int, int, int], ...]
    """Kernel height, kernel width and stride of each layer down."""
    middle: tuple[int, int, int]
    """Kernel height, kernel width and dilation."""
    ups: tuple[tuple[int, int], ...]
    """Kernel height and width of each layer up, in the order of `downs`."""
    branch: str | None
    """`Add`, `Concat` or None."""
    packed: bool
    """Whether a SpaceToDepth and a DepthToSpace of 2 surround it all."""


def stacks(smallest_kernel: int | None = None) -> st.SearchStrategy[Stack]:
    """Stacks whose kernels are at least the stride (every position is then read), or at least `smallest_kernel`."""

    def with_strides(strides: list[int]) -> st.SearchStrategy[Stack]:
        def kernel(stride: int) -> st.SearchStrategy[int]:
            return st.integers(smallest_kernel or stride, 5)

        return st.builds(
            Stack,
            downs=st.tuples(*(st.tuples(kernel(s), kernel(s), st.just(s)) for s in strides)),
            middle=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 2)),
            ups=st.tuples(*(st.tuples(kernel(s), kernel(s)) for s in strides)),
            branch=st.sampled_from([None, "Add", "Concat"]),
            packed=st.booleans(),
        )

    return st.lists(st.integers(1, 3), min_size=1, max_size=2).flatmap(with_strides)


class Builder:
    """Writes a canonical graph of positive weights, so that no two paths cancel."""

    def __init__(self, bias: bool) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(len(self.nodes))
        self.bias = bias

    def add(self, kind: str, *inputs: str, output: str | None = None, **values: Any) -> str:
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], f"{kind}_{len(self.nodes)}", **values))
        return name

    def layer(self, kind: str, x: str, shape: tuple[int, int], kernel: tuple[int, int], stride: int, dilation: int = 1) -> str:
        names = [f"w{len(self.nodes)}", f"b{len(self.nodes)}"][: 2 if self.bias else 1]
        weight = self.rng.uniform(0.5, 1, (*shape, *kernel)) / (shape[1 if kind == "Conv" else 0] * math.prod(kernel))
        bias = np.ones(shape[0 if kind == "Conv" else 1])
        for name, value in zip(names, (weight, bias), strict=False):
            self.tensors.append(numpy_helper.from_array(value.astype(np.float32), name))
        totals = [(k - 1) * dilation + 1 - stride for k in kernel]
        begins = [max(total, 0) // 2 for total in totals]
        pads = [*begins, *(max(total, 0) - begin for total, begin in zip(totals, begins, strict=True))]
        values: dict[str, Any] = {"strides": [stride] * 2, "dilations": [dilation] * 2, "kernel_shape": kernel, "pads": pads}
        if kind == "ConvTranspose":
            values["output_padding"] = [max(-total, 0) for total in totals]
        return self.add(kind, x, *names, **values)

    def model(self) -> onnx.ModelProto:
        dims = ["batch", "height", "width", 1]
        edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in ("noisy", "denoised")]
        graph = helper.make_graph(self.nodes, "stack", edges[:1], edges[1:], self.tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def build(stack: Stack, bias: bool = False) -> onnx.ModelProto:
    builder = Builder(bias)
    x = builder.add("Transpose", "noisy", perm=[0, 3, 1, 2])
    channels = 1
    if stack.packed:
        x = builder.add("SpaceToDepth", x, blocksize=2)
        channels = 4
    top = x = builder.layer("Conv", x, (2, channels), (1, 1), 1)
    for height, width, stride in stack.downs:
        x = builder.layer("Conv", x, (2, 2), (height, width), stride)
    height, width, dilation = stack.middle
    x = builder.layer("Conv", x, (2, 2), (height, width), 1, dilation)
    for (_, _, stride), kernel in reversed(list(zip(stack.downs, stack.ups, strict=True))):
        x = builder.layer("ConvTranspose", x, (2, 2), kernel, stride)
    if stack.branch == "Add":
        x = builder.add("Add", builder.layer("Conv", top, (2, 2), (3, 5), 1), x)
    if stack.branch == "Concat":
        x = builder.add("Concat", top, x, axis=1)
    x = builder.layer("Conv", x, (channels, 4 if stack.branch == "Concat" else 2), (1, 1), 1)
    if stack.packed:
        x = builder.add("DepthToSpace", x, blocksize=2)
    builder.add("Transpose", x, output="denoised", perm=[0, 2, 3, 1])
    return builder.model()


@SETTINGS
@given(stacks())
def test_the_halo_is_the_reach_of_a_changed_pixel(run_onnx, stack):
    model = build(stack)
    geometry = image_spec(Graph(model))
    unit = math.prod(stride for _, _, stride in stack.downs) * (2 if stack.packed else 1)
    assert geometry.alignment_px == unit
    assert geometry.halo_px is not None
    center = (geometry.halo_px // unit + 1) * unit
    noisy = np.zeros((unit, 2 * center + unit, 2 * center + unit, 1), np.float32)
    for offset in range(unit):
        noisy[offset, center + offset, center + offset] = 1
    reach = 0
    for offset, denoised in enumerate(run_onnx(model, noisy)[..., 0]):
        rows, columns = np.nonzero(denoised)
        for positions in (rows, columns):
            reach = max(reach, center + offset - positions.min(), positions.max() - center - offset)
    assert reach == geometry.halo_px


@SETTINGS
@given(stacks(smallest_kernel=1), st.integers(0, 2), st.integers(1, 2), st.integers(0, 99))
def test_a_tile_with_its_halo_gives_what_the_whole_image_gives(run_onnx, stack, before, size, seed):
    model = build(stack, bias=True)
    geometry = image_spec(Graph(model))
    unit = geometry.alignment_px
    assert geometry.halo_px is not None
    halo = -(-geometry.halo_px // unit) * unit
    begin, end = halo + before * unit, halo + (before + size) * unit
    noisy = np.random.default_rng(seed).random((1, end + halo + unit, end + halo, 1), np.float32)
    tile = noisy[:, begin - halo : end + halo, begin - halo : end + halo]
    whole = run_onnx(model, noisy)[:, begin:end, begin:end]
    alone = run_onnx(model, np.ascontiguousarray(tile))[:, halo : halo + end - begin, halo : halo + end - begin]
    np.testing.assert_allclose(alone, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["reflect", "edge", "constant"])
def test_pads_and_crops_that_cancel_have_an_exact_tile(run_onnx, mode):
    builder = Builder(bias=True)
    x = builder.add("Transpose", "noisy", perm=[0, 3, 1, 2])
    for name, value in (("pads", [0, 0, 3, 1, 0, 0, 2, 2]), ("starts", [1, 0]), ("ends", [-2, -1]), ("axes", [2, 3])):
        builder.tensors.append(numpy_helper.from_array(np.array(value), name))
    x = builder.add("Pad", x, "pads", mode=mode)
    valid = {"kernel_shape": [3, 3], "strides": [1, 1], "dilations": [1, 1], "pads": [0] * 4}
    builder.tensors.append(numpy_helper.from_array(builder.rng.random((1, 1, 3, 3), np.float32), "w"))
    x = builder.add("Conv", x, "w", **valid)
    x = builder.add("ConvTranspose", x, "w", **valid)
    x = builder.add("Slice", x, "starts", "ends", "axes")
    x = builder.add("Conv", x, "w", **valid)
    x = builder.add("ConvTranspose", x, "w", **valid)
    x = builder.add("Conv", x, "w", **valid | {"pads": [1, 1, 1, 1]})
    builder.add("Transpose", builder.add("Slice", x, "crop", "uncrop", "axes"), output="denoised", perm=[0, 2, 3, 1])
    builder.tensors += [numpy_helper.from_array(np.array(v), n) for n, v in (("crop", [2, 0]), ("uncrop", [2**62, -2]))]
    model = builder.model()
    geometry = image_spec(Graph(model))
    assert geometry.halo_px is not None
    unit, halo = geometry.alignment_px, -(-geometry.halo_px // geometry.alignment_px) * geometry.alignment_px
    noisy = np.random.default_rng(0).random((1, 2 * halo + 3 * unit, 2 * halo + 5 * unit, 1), np.float32)
    whole = run_onnx(model, noisy)
    assert whole.shape == noisy.shape
    tile = np.ascontiguousarray(noisy[:, unit : unit + 2 * halo + unit, unit : unit + 2 * halo + unit])
    alone = run_onnx(model, tile)[:, halo : halo + unit, halo : halo + unit]
    expected = whole[:, unit + halo : unit + halo + unit, unit + halo : unit + halo + unit]
    np.testing.assert_allclose(alone, expected, rtol=1e-5)
    smallest = np.random.default_rng(1).random((1, unit, unit, 1), np.float32)
    assert run_onnx(model, smallest).shape == smallest.shape


def one_node(kind: str, constants: dict[str, np.ndarray] | None = None, **values: Any) -> Graph:
    builder = Builder(bias=False)
    x = builder.add("Transpose", "noisy", perm=[0, 3, 1, 2])
    for name, value in (constants or {}).items():
        builder.tensors.append(numpy_helper.from_array(value, name))
    x = builder.add(kind, x, *(constants or {}), **values)
    builder.add("Transpose", x, output="denoised", perm=[0, 2, 3, 1])
    return Graph(builder.model())


def test_layers_that_read_the_whole_image_have_no_halo():
    builder = Builder(bias=False)
    x = builder.add("Transpose", "noisy", perm=[0, 3, 1, 2])
    x = builder.add("Add", x, builder.add("GlobalAveragePool", x))
    builder.add("Transpose", x, output="denoised", perm=[0, 2, 3, 1])
    assert image_spec(Graph(builder.model())) == ImageSpec(1)
    graph = one_node("CumSum", {"axis": np.array(2)})
    assert image_spec(graph) == ImageSpec(1)
    graph = one_node("Softmax", axis=1)
    assert image_spec(graph) == ImageSpec(1, halo_px=0)
    graph = one_node("Relu")
    assert image_spec(graph) == ImageSpec(1, halo_px=0)
    graph.set_dimensions(("batch", 28, 20, 1), ("batch", 28, 20, 1))
    graph.infer_shapes()
    assert image_spec(graph) == ImageSpec(1, fixed_size=(28, 20))


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (lambda: one_node("Conv", {"w": np.ones((1, 1, 3, 3), np.float32)}, kernel_shape=[3, 3], strides=[1, 1],
                          pads=[0, 0, 0, 0]), "padding='same'"),
        (lambda: one_node("Trilu"), "reach of Trilu"),
        (lambda: one_node("GlobalAveragePool"), "images of a fixed size"),
        (lambda: one_node("AveragePool", kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4), "1/2 times the size"),
    ],
)  # fmt: skip
def test_what_cannot_be_tiled_is_refused_by_name(graph, words):
    with pytest.raises(ConversionError, match=words):
        image_spec(graph())
