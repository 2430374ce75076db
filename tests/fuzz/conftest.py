"""Sound files that are made on the fly, to be damaged."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import pyvips
from onnx import TensorProto, helper, numpy_helper

from builders import golden_of, model_bytes, random_pixels, tiny_contract
from dae_runtime.contract import Quality

SAVE_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain.png": ("srgb", {}),
    "gray.png": ("b-w", {}),
    "wide.png": ("rgb16", {}),
    "palette.png": ("srgb", {"palette": True}),
    "interlaced.png": ("srgb", {"interlace": True}),
    "bit.png": ("b-w", {"bitdepth": 1}),
    "alpha.png": ("alpha", {}),
    "plain.jpg": ("srgb", {}),
    "progressive.jpg": ("srgb", {"interlace": True, "optimize_coding": True}),
    "gray.jpg": ("b-w", {}),
    "cmyk.jpg": ("cmyk", {}),
    "plain.tif": ("srgb", {}),
    "lzw.tif": ("rgb16", {"compression": "lzw", "predictor": "horizontal"}),
    "tiled.tif": ("srgb", {"compression": "deflate", "tile": True, "tile_width": 16, "tile_height": 16}),
    "jpeg.tif": ("srgb", {"compression": "jpeg"}),
    "big.tif": ("b-w", {"bigtiff": True}),
    "float.tif": ("float", {}),
    "pyramid.tif": ("srgb", {"tile": True, "tile_width": 16, "tile_height": 16, "pyramid": True}),
    "plain.webp": ("srgb", {}),
    "lossless.webp": ("alpha", {"lossless": True}),
}


def _picture(kind: str) -> pyvips.Image:
    rng = np.random.default_rng(0)
    wide, bands = kind == "rgb16", {"b-w": 1, "float": 1, "alpha": 4, "cmyk": 4}.get(kind, 3)
    values = rng.integers(0, 65536 if wide else 256, (6, 8, bands)).repeat(6, axis=0).repeat(6, axis=1)
    image = pyvips.Image.new_from_array(values.astype(np.uint16 if wide else np.uint8)).copy()
    if kind == "float":
        return image.cast("float")
    space = {"b-w": "b-w", "cmyk": "cmyk", "rgb16": "rgb16"}.get(kind, "srgb")
    image = image.copy(interpretation=space)
    image.set_type(pyvips.GValue.gint_type, "orientation", 6)
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Artist", "nobody (nobody, ASCII, 7 components, 7 bytes)")
    image.set_type(pyvips.GValue.blob_type, "xmp-data", b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    return image


def _write_images(folder: Path) -> None:
    for name, (kind, options) in SAVE_OPTIONS.items():
        _picture(kind).write_to_file(str(folder / name), **options)
    pixels = random_pixels((20, 24, 3), seed=3)
    (folder / "plain.ppm").write_bytes(b"P6\n# made for a test\n24 20\n255\n" + pixels.tobytes())
    (folder / "dim.pgm").write_bytes(b"P5 24 60 100\n" + (pixels % 101).tobytes())
    (folder / "wide.pgm").write_bytes(b"P5 24 30 65535\n" + pixels.tobytes())
    headers = (
        struct.pack("<2sIHHI", b"BM", 54 + pixels.size, 0, 0, 54),
        struct.pack("<IiiHHIIiiII", 40, 24, 20, 1, 24, *[0] * 6),
    )
    (folder / "plain.bmp").write_bytes(b"".join(headers) + pixels.tobytes())
    frame = _picture("srgb")
    frames = frame.join(frame, "vertical").copy()
    frames.set_type(pyvips.GValue.gint_type, "page-height", frame.height)
    frames.write_to_file(str(folder / "pages.tif"))
    frames.write_to_file(str(folder / "frames.webp"))


def _graph(io_dtype: str, size: tuple[int, int] | None) -> onnx.ModelProto:
    """Two convolutions around a SpaceToDepth, in float or between Quantize and Dequantize."""
    rng = np.random.default_rng(1)
    weights = {"w1": rng.normal(0, 0.1, (8, 4, 3, 3)), "w2": rng.normal(0, 0.1, (4, 8, 3, 3))}
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    if io_dtype == "uint8":
        tensors += [numpy_helper.from_array(np.float32(1 / 255), "scale"), numpy_helper.from_array(np.uint8(0), "zero")]
    nodes: list[onnx.NodeProto] = []

    def add(kind: str, *inputs: str, **attributes: Any) -> None:
        last = nodes[-1].output[0] if nodes else "noisy"
        nodes.append(helper.make_node(kind, [last, *inputs], [f"t{len(nodes)}"], **attributes))

    quantized = io_dtype == "uint8"
    if quantized:
        add("DequantizeLinear", "scale", "zero")
    add("Transpose", perm=[0, 3, 1, 2])
    add("SpaceToDepth", blocksize=2)
    add("Conv", "w1", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    add("LeakyRelu", alpha=0.3)
    if quantized:
        add("QuantizeLinear", "scale", "zero")
        add("DequantizeLinear", "scale", "zero")
    add("Conv", "w2", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    add("DepthToSpace", blocksize=2)
    add("Transpose", perm=[0, 2, 3, 1])
    add("Sigmoid")
    if quantized:
        add("QuantizeLinear", "scale", "zero")
    nodes[-1].output[0] = "denoised"
    element = TensorProto.UINT8 if quantized else TensorProto.FLOAT
    edges = [helper.make_tensor_value_info(n, element, ["N", *(size or ("H", "W")), 1]) for n in ("noisy", "denoised")]
    graph = helper.make_graph(nodes, "fuzzed", edges[:1], edges[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _model(io_dtype: str, size: tuple[int, int] | None = None) -> bytes:
    model = _graph(io_dtype, size)
    shape = (1, *(size or (8, 12)), 1)
    noisy = np.random.default_rng(2).integers(0, 256, shape)
    noisy = noisy.astype(np.uint8) if io_dtype == "uint8" else (noisy / 255).astype(np.float32)
    contract = tiny_contract(
        golden_of(model, noisy),
        "int8" if io_dtype == "uint8" else "fp32",
        name="fuzzed",
        io_dtype=io_dtype,
        height_px=size[0] if size else None,
        width_px=size[1] if size else None,
        alignment_px=2,
        halo_px=6,
        quality=Quality(9, 20.0, 30.0, 29.9),
        tools={"onnx": "1.0"},
    )
    return model_bytes(model, contract)


@pytest.fixture(scope="session")
def sound_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images/` of every format and `models/` of every kind."""
    folder = tmp_path_factory.mktemp("seeds")
    for part in ("images", "models"):
        (folder / part).mkdir()
    _write_images(folder / "images")
    models: dict[str, Callable[[], bytes]] = {
        "float.onnx": lambda: _model("float32"),
        "uint8.onnx": lambda: _model("uint8"),
        "fixed.onnx": lambda: _model("float32", (8, 12)),
    }
    for name, make in models.items():
        (folder / "models" / name).write_bytes(make())
    return folder
