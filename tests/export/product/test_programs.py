"""Files for other programs compute what the runtime computes, and are refused where a program could not use them."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from builders import make_model
from dae_export import ConversionError, DestinationError, ExportOptions, export_for
from dae_export.options import PROGRAMS
from dae_runtime import Denoiser
from dae_runtime.contract import METADATA_KEY, Contract, from_json
from dae_runtime.errors import InputError, ModelError

SIZES = ((1, 1), (1, 6), (61, 83), (64, 96))
SIGMA = 8 / 255
FLOAT_AGREEMENT_DB = 40.0
"""Of a float file with the INT8 file that it was made from: the rounding of 40 activations to 256 levels is not in it."""


def picture(height: int, width: int, channels: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    scene = 0.5 + 0.25 * np.sin(x / 20)[..., None] + 0.15 * np.cos(y / 15)[..., None] * np.array([1, -1, 0.5])[:channels]
    noise = np.random.default_rng(0).normal(0, 10 / 255, (height, width, channels))
    return np.clip(scene + noise, 0, 1).astype(np.float32)


def model_of(path: Path) -> bytes:
    if path.suffix == ".dtmodel":
        with zipfile.ZipFile(path) as archive:
            return archive.read(next(name for name in archive.namelist() if name.endswith("model.onnx")))
    return (path / "1" / "model.onnx" if path.is_dir() else path).read_bytes()


def contract_of(model: bytes) -> Contract:
    return from_json({p.key: p.value for p in onnx.load_from_string(model).metadata_props}[METADATA_KEY])


def as_the_program(model: bytes, noisy: np.ndarray, sigma: float | None) -> np.ndarray:
    """Run a file as its contract says, on one picture (H, W, C)."""
    contract = contract_of(model)
    image = np.ascontiguousarray(noisy[None].transpose(0, 3, 1, 2))
    feeds = {"noisy": image}
    if contract.sigma is not None:
        plane = np.full((1, 1, *image.shape[2:]), sigma, np.float32)
        form = contract.sigma.form
        feeds |= {"sigma": plane} if form == "map" else {"sigma": plane[:, 0, 0, :1]} if form == "value" else {}
        feeds["noisy"] = np.concatenate([image, plane], axis=1) if form == "plane" else image
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.clip(session.run(["denoised"], feeds)[0][0].transpose(1, 2, 0), 0, 1)


def agreement_db(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean(np.square(a.astype(np.float64) - b)) + 1e-20))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", ["photo", "gray-25"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_same_picture_through_the_runtime_and_through_the_form(program, name, dtype, tmp_path):
    if program == "openvino" and dtype == "int8":
        with pytest.raises(ConversionError, match="openvino gets no INT8 files"):
            export_for(program, name, tmp_path, ExportOptions(quantize=True))
        return
    built_in = SIGMA if program == "ffmpeg" and name == "photo" else None
    options = ExportOptions(quantize=True) if dtype == "int8" else ExportOptions(dtype=dtype)
    file = export_for(program, name, tmp_path, options, sigma=built_in)
    model, denoiser = model_of(file.path), Denoiser(name, "cpu")
    assert contract_of(model) == file.contract
    assert (file.contract.precision, file.contract.layout, file.contract.any_size) == (dtype, "NCHW", True)
    for height, width in SIZES:
        noisy = picture(height, width, file.contract.channels)
        expected = denoiser.denoise(noisy[..., 0] if noisy.shape[2] == 1 else noisy, sigma=SIGMA if name == "photo" else None)
        received = as_the_program(model, noisy, SIGMA)
        if dtype == "int8":
            assert np.abs(received - expected.reshape(noisy.shape)).max() < 1e-6  # integers, and one sum in float32
        else:
            assert agreement_db(received, expected.reshape(noisy.shape)) > FLOAT_AGREEMENT_DB


def test_float16_is_near_float32(tmp_path):
    """What the half precision costs by itself."""
    files = [export_for("plain", "photo", tmp_path, ExportOptions(dtype=dtype)) for dtype in ("fp32", "fp16")]
    noisy = picture(64, 96, 3)
    single, half = (as_the_program(model_of(file.path), noisy, SIGMA) for file in files)
    assert agreement_db(single, half) > 70
    assert files[1].size_bytes < 0.6 * files[0].size_bytes


def test_a_gray_network_takes_three_channels_where_the_program_has_no_gray(tmp_path):
    file = export_for("darktable", "gray-25", tmp_path)
    assert file.contract.channels == 3
    golden = np.frombuffer(file.contract.golden.noisy, "<f4").reshape(file.contract.golden.shape)
    assert np.array_equal(golden[..., 0], golden[..., 2])
    colors = picture(30, 40, 3)
    received = as_the_program(model_of(file.path), colors, None)
    assert agreement_db(received, Denoiser("gray-25", "cpu").denoise(colors)) > FLOAT_AGREEMENT_DB
    for program in ("ffmpeg", "vapoursynth"):  # these have gray frames
        assert export_for(program, "gray-25", tmp_path).contract.channels == 1


def test_a_level_above_the_known_ones_counts_as_the_greatest(tmp_path):
    """darktable always gives 25 of 255."""
    file = export_for("darktable", "photo", tmp_path)
    noisy, model = picture(33, 47, 3), model_of(file.path)
    high = file.contract.sigma.high
    assert high < 25 / 255
    strong, strongest, weak = (as_the_program(model, noisy, level) for level in (high, 25 / 255, 5 / 255))
    assert np.abs(strongest - strong).max() < 1e-5  # the mean of a map is rounded
    assert np.abs(weak - strong).max() > 0.01


def test_the_golden_sample_is_that_of_the_written_file(tmp_path):
    for program in ("darktable", "vapoursynth", "triton"):
        file = export_for(program, "photo", tmp_path)
        golden = file.contract.golden
        noisy, denoised = (np.frombuffer(data, "<f4").reshape(golden.shape) for data in (golden.noisy, golden.denoised))
        received = as_the_program(model_of(file.path), noisy[0], golden.sigma)
        assert np.abs(received - np.clip(denoised[0], 0, 1)).max() <= golden.max_abs_error


def test_the_archive_for_darktable(tmp_path):
    file = export_for("darktable", "photo", tmp_path, ExportOptions(name="My Photo_2"), sigma=SIGMA)
    assert file.path.name == "denoise-my-photo-2.dtmodel"
    with zipfile.ZipFile(file.path) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["denoise-my-photo-2/config.json", "denoise-my-photo-2/model.onnx"]
        configuration = json.loads(archive.read("denoise-my-photo-2/config.json"))
    assert configuration["num_inputs"] == 1
    assert {"id": "denoise-my-photo-2", "task": "denoise", "backend": "onnx"}.items() <= configuration.items()


def test_a_program_that_knows_no_level_needs_one_built_in(tmp_path):
    with pytest.raises(ConversionError, match=r"ffmpeg cannot give.*--sigma"):
        export_for("ffmpeg", "photo", tmp_path)
    with pytest.raises(ConversionError, match=r"up to 19.74 of 255, and --sigma is 51"):
        export_for("ffmpeg", "photo", tmp_path, sigma=0.2)
    with pytest.raises(ConversionError, match="takes no noise level"):
        export_for("ffmpeg", "color", tmp_path, sigma=0.1)
    assert list(tmp_path.iterdir()) == []


def test_models_that_a_program_cannot_use_are_refused(tmp_path):
    (tmp_path / "pixels.onnx").write_bytes(make_model(io_dtype="uint8"))
    with pytest.raises(ConversionError, match="--io float32"):
        export_for("plain", tmp_path / "pixels.onnx")
    (tmp_path / "fixed.onnx").write_bytes(make_model(size=(8, 8)))
    with pytest.raises(ConversionError, match="one image size"):
        export_for("ffmpeg", tmp_path / "fixed.onnx")
    assert export_for("triton", tmp_path / "fixed.onnx").contract.fixed_size == (8, 8)
    (tmp_path / "free.onnx").write_bytes(make_model(alignment=4))
    with pytest.raises(ConversionError, match=r"is fp32, from which int8 cannot be made.*--quantize"):
        export_for("plain", tmp_path / "free.onnx", options=ExportOptions(quantize=True))
    with pytest.raises(InputError, match="darktable, ffmpeg"):
        export_for("gimp", tmp_path / "free.onnx")


def test_a_file_that_does_not_pad_is_made_to(tmp_path):
    (tmp_path / "free.onnx").write_bytes(make_model(alignment=4))
    file = export_for("plain", tmp_path / "free.onnx")
    assert file.path == tmp_path / "free-plain.onnx"
    assert as_the_program(file.path.read_bytes(), picture(5, 7, 1), None).shape == (5, 7, 1)


def test_the_runtime_refuses_a_file_for_other_programs(tmp_path):
    file = export_for("plain", "gray-25", tmp_path)
    with pytest.raises(ModelError, match="for other programs: its images are NCHW"):
        Denoiser(file.path, "cpu")
    with pytest.raises(ModelError, match="for other programs"):
        export_for("plain", file.path, tmp_path / "again.onnx")


def test_nothing_is_overwritten_unless_asked_for(tmp_path):
    for program in ("plain", "triton"):
        export_for(program, "gray-25", tmp_path)
        with pytest.raises(DestinationError, match=r"already exists.*--overwrite"):
            export_for(program, "gray-25", tmp_path)
        export_for(program, "gray-25", tmp_path, ExportOptions(overwrite=True))
    with pytest.raises(DestinationError, match=r"ends in \.dtmodel"):
        export_for("darktable", "gray-25", tmp_path / "x.onnx")
    with pytest.raises(DestinationError, match="model of a repository"):
        export_for("triton", "gray-25", tmp_path / "missing" / "gray")


def test_the_sidecar_is_the_contract(tmp_path):
    for program, name in (("darktable", "denoise-gray-25"), ("triton", "gray-25"), ("plain", "gray-25-plain")):
        file = export_for(program, "gray-25", tmp_path, ExportOptions(sidecar=True))
        assert file.sidecar == tmp_path / f"{name}.json"
        assert from_json(file.sidecar.read_text("utf-8")) == file.contract


def test_an_archive_in_memory_is_the_one_on_disk(tmp_path):
    """Equal models give equal files: no date, no path."""
    first = export_for("darktable", "gray-25", tmp_path / "a.dtmodel").path.read_bytes()
    second = export_for("darktable", "gray-25", tmp_path / "b.dtmodel").path.read_bytes()
    assert first == second
    assert zipfile.is_zipfile(io.BytesIO(first))
