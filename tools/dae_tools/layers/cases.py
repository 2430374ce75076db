"""A tiny network for each layer and activation of Keras that makes sense for images: `Conv2D -> layer -> Conv2D`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

Layer = Callable[[Any], Any]
"""From images of `CHANNELS` channels to images of the same height and width."""

FREE = (None, None, 1)
FIXED = (16, 12, 1)
CHANNELS = 8
AROUND = ((0, 0), (1, 1), (1, 1), (0, 0))
"""A pixel on each side."""


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    group: str
    """Heading."""
    name: str
    """The layer with its options; its first word is the name in `keras.layers` or `keras.activations`."""
    layer: Layer
    fixed: bool = False
    """Whether the network has a fixed image size; it is free otherwise."""

    def network(self) -> keras.Model:
        """Return the network, with random weights that depend on nothing else."""
        keras.utils.set_random_seed(0)
        image = keras.Input(FIXED if self.fixed else FREE)
        x = layers.Conv2D(CHANNELS, 3, padding="same")(image)
        return keras.Model(image, layers.Conv2D(1, 3, padding="same")(self.layer(x)), name="net")


def all_cases() -> list[Case]:
    """Return all cases."""
    free = {
        "Convolution": _convolutions(),
        "Pooling": _pooling(),
        "Image size": _sizes(),
        "Normalization": _normalization(),
        "Activation": _activations(),
        "Merging": _merging(),
        "Dense and attention": _dense(),
        "Other": _other(),
    }
    found = [Case(group, name, layer) for group, rows in free.items() for name, layer in rows.items()]
    found += [Case("Fixed image size", name, layer, True) for name, layer in _fixed().items()]
    return found + [Case("Training only", name, layer) for name, layer in _training_only().items()]


def make(name: str, *arguments: Any, **options: Any) -> Layer:
    """Return the layer of this name, made anew for each network."""
    return lambda x: getattr(layers, name)(*arguments, **options)(x)


def halve(name: str, *arguments: Any, **options: Any) -> Layer:
    """Return a layer that halves the size, and one that doubles it."""
    return lambda x: layers.UpSampling2D(2)(make(name, *arguments, **options)(x))


def enlarge(factor: int, name: str, *arguments: Any, **options: Any) -> Layer:
    """Return a layer that enlarges the image, after one that makes it smaller."""
    return lambda x: make(name, *arguments, **options)(layers.MaxPooling2D(factor)(x))


def _convolutions() -> Mapping[str, Layer]:
    def channels_first(x: Any) -> Any:
        x = make("Conv2D", 8, 3, padding="same", data_format="channels_first")(layers.Permute((3, 1, 2))(x))
        return layers.Permute((2, 3, 1))(x)

    same = {"padding": "same"}
    return {
        "Conv2D": make("Conv2D", 8, 3, **same),
        "Conv2D 5 x 1": make("Conv2D", 8, (5, 1), **same),
        "Conv2D 4 x 4": make("Conv2D", 8, 4, **same),
        "Conv2D strides=2": halve("Conv2D", 8, 3, strides=2, **same),
        "Conv2D dilation_rate=2": make("Conv2D", 8, 3, dilation_rate=2, **same),
        "Conv2D groups=2": make("Conv2D", 8, 3, groups=2, **same),
        "Conv2D groups=8": make("Conv2D", 8, 3, groups=8, **same),
        "Conv2D data_format=channels_first": channels_first,
        "Conv2D padding=valid, after ZeroPadding2D": lambda x: layers.Conv2D(8, 3)(layers.ZeroPadding2D(1)(x)),
        "Conv2D padding=valid": make("Conv2D", 8, 3),
        "DepthwiseConv2D": make("DepthwiseConv2D", 3, **same),
        "DepthwiseConv2D depth_multiplier=2": make("DepthwiseConv2D", 3, depth_multiplier=2, **same),
        "DepthwiseConv2D strides=2": halve("DepthwiseConv2D", 3, strides=2, **same),
        "DepthwiseConv2D dilation_rate=2": make("DepthwiseConv2D", 3, dilation_rate=2, **same),
        "SeparableConv2D": make("SeparableConv2D", 8, 3, **same),
        "SeparableConv2D strides=2": halve("SeparableConv2D", 8, 3, strides=2, **same),
        "SeparableConv2D dilation_rate=2": make("SeparableConv2D", 8, 3, dilation_rate=2, **same),
        "Conv2DTranspose": make("Conv2DTranspose", 8, 3, **same),
        "Conv2DTranspose strides=2": enlarge(2, "Conv2DTranspose", 8, 4, strides=2, **same),
        "Conv2DTranspose strides=2, 3 x 3": enlarge(2, "Conv2DTranspose", 8, 3, strides=2, **same),
        "Conv2DTranspose strides=2, padding=valid": enlarge(2, "Conv2DTranspose", 8, 2, strides=2),
        "Conv2DTranspose output_padding=1": enlarge(2, "Conv2DTranspose", 8, 3, strides=2, output_padding=1, **same),
        "Conv2DTranspose dilation_rate=2": make("Conv2DTranspose", 8, 3, dilation_rate=2, **same),
    }


def _pooling() -> Mapping[str, Layer]:
    def added(name: str) -> Layer:
        return lambda x: layers.Add()([x, layers.Reshape((1, 1, CHANNELS))(make(name)(x))])

    def multiplied(name: str) -> Layer:
        return lambda x: layers.Multiply()([x, make(name, keepdims=True)(x)])

    found: dict[str, Layer] = {}
    for name in ("MaxPooling2D", "AveragePooling2D"):
        found[name] = halve(name, 2)
        found[f"{name} pool_size=3, strides=2, padding=same"] = halve(name, 3, 2, padding="same")
        found[f"{name} pool_size=3, strides=1, padding=same"] = make(name, 3, 1, padding="same")
    for name in ("GlobalAveragePooling2D", "GlobalMaxPooling2D"):
        found[name] = added(name)
        found[f"{name} keepdims=True"] = multiplied(name)
    return found


def _sizes() -> Mapping[str, Layer]:
    found: dict[str, Layer] = {}
    for way in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"):
        found[f"UpSampling2D interpolation={way}"] = enlarge(2, "UpSampling2D", 2, interpolation=way)
    for way in ("nearest", "bilinear", "bicubic"):
        found[f"UpSampling2D size=3, interpolation={way}"] = enlarge(3, "UpSampling2D", 3, interpolation=way)
    return found | {
        "ZeroPadding2D, before pooling": lambda x: layers.AveragePooling2D(3, 1)(layers.ZeroPadding2D(1)(x)),
        "Cropping2D": lambda x: layers.Cropping2D(1)(layers.Conv2D(8, 3, padding="same")(layers.ZeroPadding2D(1)(x))),
        "Permute": lambda x: layers.Permute((2, 1, 3))(layers.ReLU()(layers.Permute((2, 1, 3))(x))),
        "ops.pad mode=reflect": lambda x: layers.Conv2D(8, 3)(ops.pad(x, AROUND, "reflect")),
        "ops.pad mode=symmetric": lambda x: layers.Conv2D(8, 3)(ops.pad(x, AROUND, "symmetric")),
        "ops.depth_to_space, ops.space_to_depth": lambda x: ops.depth_to_space(ops.space_to_depth(x, 2), 2),
    }


def _normalization() -> Mapping[str, Layer]:
    return {
        "BatchNormalization": make("BatchNormalization"),
        "BatchNormalization, after ReLU": lambda x: layers.BatchNormalization()(layers.ReLU()(x)),
        "LayerNormalization": make("LayerNormalization"),
        "LayerNormalization axis=(1, 2, 3)": make("LayerNormalization", axis=(1, 2, 3), center=False, scale=False),
        "GroupNormalization groups=2": make("GroupNormalization", 2),
        "GroupNormalization groups=-1": make("GroupNormalization", -1),
        "RMSNormalization": make("RMSNormalization"),
        "UnitNormalization": make("UnitNormalization"),
        "SpectralNormalization": lambda x: layers.SpectralNormalization(layers.Conv2D(8, 3, padding="same"))(x),
        "Normalization mean, variance": make("Normalization", mean=0.4, variance=0.3),
    }


def _activations() -> Mapping[str, Layer]:
    names = [name for name in dir(keras.activations) if name[0].islower() and name not in ("deserialize", "get", "serialize")]
    found = {name: make("Activation", name) for name in names if name not in ("glu", "threshold")}
    return found | {
        "gelu approximate=True": lambda x: keras.activations.gelu(x, approximate=True),
        "threshold": lambda x: keras.activations.threshold(x, 0.1, -0.5),
        "glu": lambda x: GatedLinearUnit()(layers.Concatenate()([x, x])),
        "ReLU": make("ReLU"),
        "ReLU max_value=6": make("ReLU", max_value=6.0),
        "ReLU negative_slope=0.1": make("ReLU", negative_slope=0.1),
        "ReLU threshold=0.1": make("ReLU", threshold=0.1),
        "LeakyReLU": make("LeakyReLU"),
        "PReLU shared_axes=(1, 2)": make("PReLU", shared_axes=(1, 2), alpha_initializer="uniform"),
        "ELU": make("ELU"),
        "ELU alpha=0.5": make("ELU", alpha=0.5),
        "Softmax": make("Softmax"),
        "Activation": make("Activation", "relu"),
    }


def _merging() -> Mapping[str, Layer]:
    def merged(name: str) -> Layer:
        return lambda x: make(name)([x, layers.Conv2D(8, 3, padding="same")(x)])

    names = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")
    return {name: merged(name) for name in names}


def _dense() -> Mapping[str, Layer]:
    def squeeze_and_excite(x: Any) -> Any:
        s = layers.Dense(4, "relu")(layers.GlobalAveragePooling2D()(x))
        return layers.Multiply()([x, layers.Reshape((1, 1, CHANNELS))(layers.Dense(CHANNELS, "sigmoid")(s))])

    return {
        "Dense, on channels": make("Dense", 8),
        "Dense, squeeze and excite": squeeze_and_excite,
        "EinsumDense": make("EinsumDense", "abcd,de->abce", output_shape=(None, None, 8), bias_axes="e"),
        "MultiHeadAttention, over rows": lambda x: layers.MultiHeadAttention(2, 4, attention_axes=2)(x, x),
    }


def _other() -> Mapping[str, Layer]:
    return {
        "Rescaling": make("Rescaling", 2.0, offset=-0.5),
        "Masking": make("Masking"),
        "Lambda": lambda x: layers.Lambda(lambda y: y * 2)(x),
        "Model, nested": lambda x: keras.Sequential([layers.Conv2D(8, 3, padding="same"), layers.ReLU()])(x),
        "Layer, a custom layer": lambda x: GatedLinearUnit()(layers.Conv2D(16, 3, padding="same")(x)),
    }


def _tokens(layer: Layer) -> Layer:
    return lambda x: layers.Reshape((16, 12, CHANNELS))(layer(layers.Reshape((192, CHANNELS))(x)))


def _fixed() -> Mapping[str, Layer]:
    found: dict[str, Layer] = {}
    for way in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5", "area"):
        found[f"Resizing interpolation={way}"] = enlarge(2, "Resizing", 16, 12, interpolation=way)
        found[f"Resizing interpolation={way}, smaller"] = halve("Resizing", 8, 6, interpolation=way)
    return found | {
        "Resizing antialias=True": halve("Resizing", 8, 6, antialias=True),
        "Resizing crop_to_aspect_ratio=True": halve("Resizing", 8, 6, crop_to_aspect_ratio=True),
        "CenterCrop": lambda x: layers.ZeroPadding2D(2)(layers.CenterCrop(12, 8)(x)),
        "AdaptiveAveragePooling2D": halve("AdaptiveAveragePooling2D", (8, 6)),
        "AdaptiveMaxPooling2D": halve("AdaptiveMaxPooling2D", (8, 6)),
        "Reshape": lambda x: layers.Reshape((16, 12, 8))(layers.Reshape((8, 6, 32))(x)),
        "Flatten, Dense, Reshape": lambda x: layers.Reshape((16, 12, 1))(layers.Dense(192)(layers.Flatten()(x))),
        "PReLU": make("PReLU", alpha_initializer="uniform"),
        "LayerNormalization axis=(1, 2, 3), with weights": make("LayerNormalization", axis=(1, 2, 3)),
        "MultiHeadAttention": _tokens(lambda t: layers.MultiHeadAttention(2, 4)(t, t)),
        "GroupQueryAttention": _tokens(lambda t: layers.GroupQueryAttention(4, 4, 2)(t, t)),
        "Attention": _tokens(lambda t: layers.Attention()([t, t])),
        "AdditiveAttention": _tokens(lambda t: layers.AdditiveAttention()([t, t])),
        "Dot": _tokens(lambda t: layers.Conv1D(8, 1)(layers.Dot(2)([t, t]))),
    }


def _training_only() -> Mapping[str, Layer]:
    arguments: dict[str, tuple[Any, ...]] = {
        "Identity": (),
        "ActivityRegularization": (),
        **dict.fromkeys(("Dropout", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise"), (0.1,)),
        **dict.fromkeys(("RandomBrightness", "RandomContrast", "RandomRotation", "RandomZoom"), (0.1,)),
        **dict.fromkeys(("RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomShear", "RandomElasticTransform"), ()),
        **dict.fromkeys(("CutMix", "MixUp", "RandomInvert", "RandomPerspective", "Solarization"), ()),
        "RandomPosterization": (4,),
        "RandomTranslation": (0.1, 0.1),
    }
    return {name: make(name, *given) for name, given in arguments.items()}


@keras.saving.register_keras_serializable("dae_tools")
class GatedLinearUnit(layers.Layer):  # type: ignore[misc]
    """`glu` of Keras, which tells a functional model a wrong shape."""

    def call(self, x: Any) -> Any:
        """Return half of the channels times the sigmoid of the others."""
        return keras.activations.glu(x)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape with half of the channels."""
        return (*shape[:-1], (shape[-1] or 0) // 2)


NOT_FOR_IMAGES: Mapping[str, str] = {
    "sequences, one or three dimensions": "1D 3D RNN LSTM GRU Cell Bidirectional TimeDistributed Repeat Spectrogram",
    "text, numbers and categories": "Text String Integer Hash Category Discretization Embedding MaxNumBoundingBoxes",
    "statistics of the whole image at inference": "AutoContrast Equalization ContrastLimited",
    "augmentations of RGB images": "AugMix RandAugment Color Hue Saturation Sharpness Grayscale",
    "a changed image size": "RandomCrop",
    "code of other frameworks": "FlaxLayer JaxLayer TFSMLayer TorchModuleWrapper",
    "parts, not layers": "Input Wrapper Pipeline",
}
"""Why layers are not in the table, by words in their names."""
ALIASES = {
    "AvgPool": "AveragePooling",
    "MaxPool2D": "MaxPooling2D",
    "Convolution": "Conv",
    "GlobalAvgPool": "GlobalAveragePooling",
    "GlobalMaxPool2D": "GlobalMaxPooling2D",
}
"""Second names that Keras has for layers."""
