"""INT8 of rewritten graphs: parameters shared where data only moves, and the numbers of the canonical graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dae_export.graph.macs import count_macs, integer_nodes
from dae_export.measure.quality import judge
from dae_export.measure.samples import Batches, Samples
from dae_export.precision import calibrate, quantize, round_weights
from dae_export.precision.scales import layer_of, tied_tensors
from dae_export.rewrites import INTEGER_CANDIDATES, apply
from dae_export.rewrites.recipe import INTEGER_PHASES, INTEGER_ROWS, INTEGER_SUMS
from dae_export.source import KerasModel, Network, read_network

REWRITTEN = (INTEGER_PHASES, INTEGER_ROWS, INTEGER_SUMS)


@pytest.fixture(scope="module")
def network(make_v2) -> Network:
    return read_network(KerasModel(make_v2(filters=(8, 8, 16)), "test"), 18)


def samples_of(pictures: Callable[..., Any], channels: int, side: int) -> Samples:
    def batches(seed: int) -> tuple[Batches, Batches]:
        return tuple(Batches(8, lambda array=array: iter([array])) for array in pictures(8, side, channels, seed))

    (calibration, _), (test, clean) = batches(0), batches(1)
    return Samples(calibration, test, clean, "sine waves")


def parameters(model: onnx.ModelProto) -> dict[str, tuple[float, int]]:
    """Return scale and zero point of every quantized activation, by the name of the float tensor."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            found[node.input[0]] = (float(constants[node.input[1]]), int(constants[node.input[2]]))
    return found


@pytest.mark.parametrize("recipe", REWRITTEN, ids=lambda r: r.name)
def test_tied_tensors_have_one_scale_and_zero_point(network, pictures, recipe):
    model = apply(network.model, recipe, 4)
    integer = quantize(model, calibrate(model, samples_of(pictures, 1, 32).calibration))
    known = parameters(integer)
    groups = tied_tensors(model)
    concats = [node for node in model.graph.node if node.op_type == "Concat"]
    assert concats
    for node in concats:
        assert any({*node.input, *node.output} <= group for group in groups)
    for group in groups:
        assert len({known[name] for name in group if name in known}) <= 1, group
    pixels = (float(np.float32(1 / 255)), 0)
    assert all(known[name] == pixels for group in groups if group & {"noisy", "denoised"} for name in group if name in known)


def test_no_range_is_clipped_by_a_tie(network, pictures):
    model = apply(network.model, INTEGER_PHASES, 4)
    noisy = next(iter(samples_of(pictures, 1, 32).calibration))
    ranges = calibrate(model, [noisy])
    for group in tied_tensors(model):
        if not group & {"noisy", "denoised"}:
            low, high = zip(*(ranges.values[name].range_value for name in group if name in ranges.values), strict=True)
            assert len(set(map(float, low))) == len(set(map(float, high))) == 1


def test_a_skip_connection_keeps_its_own_ranges(keras, make_model, pictures):
    def net(x: Any) -> Any:
        y = keras.layers.Conv2D(8, 3, padding="same")(x)
        y = keras.layers.Concatenate()([x * 1.0, y * 9.0])
        return keras.layers.Conv2D(1, 3, padding="same")(y)

    network = read_network(KerasModel(make_model(net), "test"), 18)
    assert any(node.op_type == "Concat" for node in network.model.graph.node)
    for model in (network.model, apply(network.model, INTEGER_ROWS, 4)):
        concat = next(node for node in model.graph.node if node.op_type == "Concat")
        assert not any({*concat.input} <= group for group in tied_tensors(model))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", REWRITTEN, ids=lambda r: r.name)
@pytest.mark.parametrize("kind", ["v2", "color", "kernel 5", "skips"])
def test_int8_of_a_rewritten_graph_is_as_good_as_of_the_canonical_one(make_v2, make_model, keras, pictures, recipe, kind):
    layers = keras.layers

    def net(x: Any) -> Any:
        size = 5 if kind == "kernel 5" else 3
        first = layers.LeakyReLU(negative_slope=0.1)(layers.Conv2D(12, size, padding="same")(x))
        y = layers.ReLU()(layers.Conv2D(20, size, strides=2, padding="same")(first))
        y = layers.LeakyReLU(negative_slope=0.3)(layers.Conv2DTranspose(12, size, strides=2, padding="same")(y))
        if kind == "skips":
            y = layers.Concatenate()([layers.Add()([y, first]), first])
        return layers.Conv2D(1, size, padding="same", activation="sigmoid")(y)

    channels = 3 if kind == "color" else 1
    model = make_v2(channels, filters=(12, 16, 20)) if kind in ("v2", "color") else make_model(net)
    network = read_network(KerasModel(model, "test"), 18)
    samples = samples_of(pictures, channels, 32)
    agreement = []
    for chosen in (INTEGER_CANDIDATES[0], recipe):
        form = apply(network.model, chosen, network.images.alignment_px)
        weights = round_weights(form, samples.calibration, network.images.alignment_px)
        integer = quantize(form, calibrate(form, samples.calibration), (), weights)
        judgment = judge(form.SerializeToString(), integer.SerializeToString(), samples)
        agreement.append(judgment.agreement_db)
        if chosen is recipe:
            assert integer_nodes(integer) == set(count_macs(integer, 32, 32)), "a layer stayed in float"
            assert max(map(abs, judgment.color_shift)) < 0.5
    assert min(agreement) > 35
    assert agreement[1] > agreement[0] - (3 if recipe is INTEGER_SUMS else 1.5)  # sums round more often


def test_the_layer_of_a_node_is_the_first_part_of_its_name(network):
    model = apply(network.model, INTEGER_ROWS, 4)
    canonical = {node.name for node in network.model.graph.node}
    assert {layer_of(node.name) for node in model.graph.node} <= canonical
    assert layer_of("conv_1/Conv_3/LeakyRelu_4") == "conv_1"
