"""Native programs, where this machine has them: FFmpeg 9 with onnxruntime, and a C++ program with its headers.

FFmpeg: `ffmpeg` on the PATH or in DAE_FFMPEG, built with --enable-libonnxruntime, which Debian's is not. C++: the headers of
onnxruntime where the compiler finds them, or in DAE_ONNXRUNTIME/include with the library in DAE_ONNXRUNTIME/lib.
What FFmpeg demands of a file is checked without it: libavfilter/dnn/dnn_backend_onnx.c of 9.0 (1ae40482).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from dae_export import ExportOptions, export_for
from dae_runtime import Denoiser
from hosts.conftest import SIGMA, agreement_db, picture

FFMPEG = os.environ.get("DAE_FFMPEG") or shutil.which("ffmpeg")
ONNXRUNTIME = os.environ.get("DAE_ONNXRUNTIME", "/usr")


def has_onnx(ffmpeg: str | None) -> bool:
    command = [ffmpeg or "false", "-hide_banner", "-h", "filter=dnn_processing"]
    return "onnx" in subprocess.run(command, capture_output=True, text=True, check=False).stdout


def header() -> Path | None:
    found = sorted(Path(ONNXRUNTIME, "include").rglob("onnxruntime_cxx_api.h"))
    return found[0].parent if found and shutil.which("g++") else None


@pytest.mark.parametrize(("name", "channels"), [("photo", 3), ("color", 3), ("gray-25", 1)])
def test_what_ffmpeg_demands(name, channels, tmp_path):
    """One input by name, 4-D, float, batch free or 1, channels of the frames: 3 of rgb24, 1 of gray and the luma of yuv."""
    file = export_for("ffmpeg", name, tmp_path, sigma=SIGMA if name == "photo" else None)
    session = onnxruntime.InferenceSession(file.path, providers=["CPUExecutionProvider"])
    for (tensor,), expected in ((session.get_inputs(), "noisy"), (session.get_outputs(), "denoised")):
        assert (tensor.name, tensor.type, len(tensor.shape)) == (expected, "tensor(float)", 4)
        assert [n if isinstance(n, int) else 0 for n in tensor.shape] == [0, channels, 0, 0]


@pytest.mark.skipif(not has_onnx(FFMPEG), reason="no ffmpeg with onnxruntime")
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize(("name", "pixels"), [("photo", "rgb24"), ("color", "rgb24"), ("gray", "gray")])
def test_a_frame_through_ffmpeg_is_that_of_the_runtime(name, pixels, dtype, tmp_path):
    options = ExportOptions(quantize=True) if dtype == "int8" else ExportOptions(dtype=dtype)
    sigma = None if name == "color" else SIGMA
    file = export_for("ffmpeg", name, tmp_path, options, sigma=sigma)
    noisy = np.round(255 * picture(61, 83, file.contract.channels)).astype(np.uint8)
    video = ["-f", "rawvideo", "-pix_fmt", pixels]
    network = f"format={pixels},dnn_processing=dnn_backend=onnx:model={file.path}:input=noisy:output=denoised:async=0"
    command = [FFMPEG, "-v", "error", *video, "-s", "83x61", "-i", "pipe:0", "-vf", network, *video, "pipe:1"]
    finished = subprocess.run([*map(str, command)], input=2 * noisy.tobytes(), capture_output=True, check=True)
    frames = np.frombuffer(finished.stdout, np.uint8).reshape(2, *noisy.shape)
    expected = Denoiser(name, "cpu").denoise(noisy if noisy.shape[2] == 3 else noisy[..., 0], sigma=sigma).reshape(noisy.shape)
    if dtype == "int8":
        assert np.array_equal(frames[1], expected)
    else:
        assert agreement_db(frames[1] / 255, expected / 255) > 40


@pytest.mark.skipif(header() is None, reason="no headers of onnxruntime")
@pytest.mark.parametrize("name", ["photo", "gray-25"])
def test_a_picture_through_a_cpp_program_is_that_of_the_runtime(name, tmp_path):
    program, source = tmp_path / "run_plain", Path(__file__).with_name("run_plain.cpp")
    library = ["-L", f"{ONNXRUNTIME}/lib", f"-Wl,-rpath,{ONNXRUNTIME}/lib", "-lonnxruntime"]
    subprocess.run(["g++", "-std=c++17", "-O1", "-I", str(header()), str(source), "-o", str(program), *library], check=True)
    file = export_for("plain", name, tmp_path, ExportOptions(quantize=True))
    noisy = picture(61, 83, file.contract.channels)
    (tmp_path / "noisy.raw").write_bytes(np.ascontiguousarray(noisy.transpose(2, 0, 1)).tobytes())
    level = [] if file.contract.sigma is None else [str(SIGMA)]
    command = [program, file.path, tmp_path / "noisy.raw", tmp_path / "clean.raw", noisy.shape[2], *noisy.shape[:2], *level]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    received = np.fromfile(tmp_path / "clean.raw", np.float32).reshape(noisy.shape[2], *noisy.shape[:2]).transpose(1, 2, 0)
    expected = Denoiser(name, "cpu").denoise(noisy if noisy.shape[2] == 3 else noisy[..., 0], sigma=SIGMA if level else None)
    assert np.abs(np.clip(received, 0, 1) - expected.reshape(noisy.shape)).max() < 1e-6
