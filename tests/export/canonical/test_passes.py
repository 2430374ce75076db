"""Every exported graph has one form, and is the same function as the Keras model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from dae_export.canonical import canonicalize
from dae_export.graph.geometry import image_spec
from dae_export.graph.model import attributes
from dae_export.source import KerasModel
from dae_export.source.convert import convert

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def exported() -> Callable[[Any], tuple[onnx.ModelProto, KerasModel]]:
    def run(model: Any, opset: int = 18) -> tuple[onnx.ModelProto, KerasModel]:
        wrapped = KerasModel(model, "test")
        graph = convert(wrapped, opset)
        canonicalize(graph, wrapped.fixed_size)
        return graph.to_model(), wrapped

    return run


@pytest.fixture(scope="module")
def compare(run_onnx: Any) -> Callable[..., None]:
    def run(model: onnx.ModelProto, reference: KerasModel, *sizes: tuple[int, int]) -> None:
        rng = np.random.default_rng(3)
        spread = 0.0
        for batch, size in zip((1, 3, 2), sizes, strict=False):
            noisy = rng.random((batch, *size, reference.channels), np.float32)
            expected = reference(noisy)
            spread = max(spread, float(expected.std()))
            np.testing.assert_allclose(run_onnx(model, noisy), expected, atol=TOLERANCE, rtol=0)
        assert spread > 1e-2, "constant images prove nothing"

    return run


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    names = [node.op_type for node in model.graph.node]
    return {name: names.count(name) for name in names}


V1 = {"Transpose": 2, "Conv": 4, "LeakyRelu": 7, "Reshape": 2, "Gemm": 2, "ConvTranspose": 4, "Sigmoid": 1}
V2 = {"Transpose": 2, "Conv": 3, "LeakyRelu": 5, "ConvTranspose": 3, "Sigmoid": 1}


@pytest.mark.parametrize(("batch_norm", "dropout"), [(False, False), (True, False), (False, True), (True, True)])
def test_the_seed_networks_have_these_nodes_and_no_others(make_v1, make_v2, exported, compare, batch_norm, dropout):
    model, reference = exported(make_v1(batch_norm, dropout))
    assert kinds(model) == V1
    compare(model, reference, (28, 28), (28, 28))
    model, reference = exported(make_v2(1, batch_norm, dropout))
    assert kinds(model) == V2
    compare(model, reference, (4, 4), (20, 12), (28, 28))


def test_color(make_v2, exported, compare):
    model, reference = exported(make_v2(3, True, True))
    assert kinds(model) == V2
    compare(model, reference, (4, 8), (12, 20))


def test_every_convolution_names_its_pads_and_no_size_is_left(make_v2, exported):
    model, _ = exported(make_v2())
    for node in model.graph.node:
        values = attributes(node)
        assert not {"auto_pad", "output_shape"} & set(values)
        if node.op_type in ("Conv", "ConvTranspose"):
            assert {"kernel_shape", "strides", "dilations", "pads", "group"} <= set(values)
            assert len(node.input) == 3
    for value, name in ((model.graph.input[0], "noisy"), (model.graph.output[0], "denoised")):
        assert value.name == name
        dims = value.type.tensor_type.shape.dim
        assert [d.dim_param or d.dim_value for d in dims] == ["batch", "height", "width", 1]
    sized = [v for v in model.graph.value_info for d in v.type.tensor_type.shape.dim[2:] if d.HasField("dim_value")]
    assert not sized


def test_the_batch_is_free_and_the_size_fixed_for_a_fixed_model(make_v1, exported):
    model, _ = exported(make_v1())
    dims = model.graph.output[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["batch", 28, 28, 1]


def test_the_same_model_gives_the_same_graph(make_v2, exported):
    first, second = (exported(make_v2(batch_norm=True))[0].SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("opset", [13, 16])
def test_an_older_opset(make_v2, exported, compare, opset):
    model, reference = exported(make_v2(batch_norm=True), opset)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert kinds(model) == V2
    compare(model, reference, (8, 12))


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_of_every_kernel_and_stride(keras, make_model, exported, compare, kernel, stride):
    def net(x: Any) -> Any:
        x = keras.layers.Conv2D(3, kernel, strides=stride, padding="same", activation="elu")(x)
        return keras.layers.Conv2DTranspose(1, kernel, strides=stride, padding="same")(x)

    model, reference = exported(make_model(net))
    assert kinds(model) == {"Transpose": 2, "Conv": 1, "Elu": 1, "ConvTranspose": 1}
    transposed = attributes(model.graph.node[-2])
    total = max(kernel - stride, 0)
    assert transposed["pads"] == [total // 2] * 2 + [total - total // 2] * 2
    assert transposed["output_padding"] == [max(stride - kernel, 0)] * 2
    compare(model, reference, (stride, 2 * stride), (6, 12), (7 * stride, 5 * stride))


def leaky(keras: Any, x: Any, count: int = 4) -> Any:
    return keras.layers.LeakyReLU(negative_slope=0.3)(keras.layers.Conv2D(count, 3, padding="same")(x))


def normalized_before_activation(keras: Any, x: Any) -> Any:
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, padding="same", use_bias=False)(x))
    return keras.layers.Conv2D(1, 3, padding="same")(keras.layers.ReLU()(x))


def normalized_transposed(keras: Any, x: Any) -> Any:
    x = keras.layers.Conv2DTranspose(4, 3, strides=2, padding="same")(keras.layers.MaxPooling2D()(leaky(keras, x)))
    return keras.layers.Conv2D(1, 3, padding="same")(keras.layers.BatchNormalization()(x))


def normalized_after(activation: str) -> Callable[[Any, Any], Any]:
    def net(keras: Any, x: Any) -> Any:
        x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, padding="same", activation=activation)(x))
        return keras.layers.Conv2DTranspose(1, 4, padding="same")(x)

    return net


def normalized_before_unpadded(keras: Any, x: Any) -> Any:
    return keras.layers.Conv2D(1, 1)(keras.layers.BatchNormalization()(leaky(keras, x)))


def normalized_twice(keras: Any, x: Any) -> Any:
    x = keras.layers.BatchNormalization()(keras.layers.BatchNormalization()(leaky(keras, x)))
    return keras.layers.Conv2D(1, 3, padding="same")(x)


def normalized_for_two_layers(keras: Any, x: Any) -> Any:
    x = keras.layers.BatchNormalization()(leaky(keras, x))
    return keras.layers.Add()([keras.layers.Conv2D(1, 3, padding="same")(x), keras.layers.Conv2D(1, 5, padding="same")(x)])


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (normalized_before_activation, {"Conv": 2, "Relu": 1}),
        (normalized_transposed, {"Conv": 2, "LeakyRelu": 1, "MaxPool": 1, "ConvTranspose": 1}),
        *((normalized_after(name.lower()), {"Conv": 1, name: 1, "ConvTranspose": 1})
          for name in ("Sigmoid", "Tanh", "Softplus", "Elu", "Relu")),
        (normalized_before_unpadded, {"Conv": 2, "LeakyRelu": 1}),
        (normalized_twice, {"Conv": 2, "LeakyRelu": 1}),
        (normalized_for_two_layers, {"Conv": 3, "LeakyRelu": 1, "Add": 1}),
    ],
)  # fmt: skip
def test_normalization_disappears_wherever_that_is_exact(keras, make_model, exported, compare, net, expected):
    model, reference = exported(make_model(lambda x: net(keras, x)))
    assert kinds(model) == {"Transpose": 2, **expected}
    compare(model, reference, (4, 6), (2, 2), (10, 8))


def skip_connection(keras: Any, x: Any) -> Any:
    x = keras.layers.BatchNormalization()(leaky(keras, x))
    return keras.layers.Conv2D(1, 3, padding="same")(keras.layers.Concatenate()([x, leaky(keras, x)]))


def pooled(keras: Any, x: Any) -> Any:
    x = keras.layers.MaxPooling2D()(keras.layers.BatchNormalization()(leaky(keras, x)))
    return keras.layers.Conv2DTranspose(1, 3, strides=2, padding="same")(x)


def depthwise(keras: Any, x: Any) -> Any:
    x = keras.layers.DepthwiseConv2D(3, padding="same")(keras.layers.BatchNormalization()(leaky(keras, x)))
    return keras.layers.Conv2D(1, 1)(x)


@pytest.mark.parametrize("net", [skip_connection, pooled, depthwise])
def test_normalization_stays_where_folding_would_be_wrong(keras, make_model, exported, compare, net):
    model, reference = exported(make_model(lambda x: net(keras, x)))
    assert (kinds(model)["Mul"], kinds(model)["Add"]) == (1, 1)
    compare(model, reference, (4, 6), (2, 2), (10, 8))


def test_dense_layers_take_the_layout_of_the_image(keras, make_model, exported, compare):
    def net(x: Any) -> Any:
        x = keras.layers.BatchNormalization()(leaky(keras, x))
        x = keras.layers.Dense(5, activation="tanh")(keras.layers.Flatten()(x))
        x = keras.layers.Dense(4 * 6 * 3, activation="relu")(x)
        return keras.layers.Conv2D(1, 3, padding="same")(keras.layers.Reshape((4, 6, 3))(x))

    model, reference = exported(make_model(net, (4, 6, 1)))
    expected = {"Transpose": 2, "Conv": 2, "LeakyRelu": 1, "Reshape": 2, "Gemm": 2, "Tanh": 1, "Relu": 1}
    assert kinds(model) == expected
    compare(model, reference, (4, 6), (4, 6))


def test_a_u_shape_with_the_other_common_layers(keras, make_model, exported, compare):
    layers = keras.layers

    def net(image: Any) -> Any:
        top = leaky(keras, image)
        x = layers.AveragePooling2D(2, padding="same")(top)
        x = layers.Conv2D(6, 3)(layers.ZeroPadding2D(1)(x))
        x = layers.DepthwiseConv2D(3, padding="same", dilation_rate=2)(x)
        x = layers.UpSampling2D(2)(layers.MaxPooling2D(2)(x))
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        x = layers.SeparableConv2D(3, 3, padding="same", activation="relu")(layers.Concatenate()([top, x]))
        return layers.Subtract()([image, layers.Conv2D(3, 1)(x)])

    model, reference = exported(make_model(net, (None, None, 3)))
    expected = {"Transpose": 2, "Conv": 6, "LeakyRelu": 1, "AveragePool": 1, "MaxPool": 1, "Resize": 2, "Concat": 1, "Relu": 1}
    assert kinds(model) == {**expected, "Sub": 1}
    compare(model, reference, (4, 8), (12, 4), (20, 28))


def test_geometry_of_the_seed_network(make_v2):
    wrapped = KerasModel(make_v2(), "test")
    graph = convert(wrapped)
    canonicalize(graph, None)
    geometry = image_spec(graph)
    assert (geometry.alignment_px, geometry.halo_px) == (4, 8)
    # Rigorous: pixels of one period change with every pixel of the input; which ones do, says how far they read.
    rng = np.random.default_rng(0)
    noisy = rng.random((1, 40, 40, 1), np.float32)
    before = wrapped(noisy)
    reach = 0
    for row in range(16, 20):
        for delta in (-0.5, 0.5):
            changed = noisy.copy()
            changed[0, row, 20] += delta
            rows = np.flatnonzero(np.any(wrapped(changed) != before, axis=(0, 2, 3)))
            reach = max(reach, row - rows.min(), rows.max() - row)
    assert reach == geometry.halo_px
