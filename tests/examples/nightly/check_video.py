"""The video example between two real ffmpeg processes."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

from dae_runtime import Denoiser

SIZE, COUNT = (96, 64), 30


def frames(path, width, height):
    words = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(words, check=True, capture_output=True).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, height, width, 3)


def test_a_video_with_sound(run_example, model_file, tmp_path):
    source, result = tmp_path / "noisy.mkv", tmp_path / "clean.mkv"
    picture = f"testsrc=size={SIZE[0]}x{SIZE[1]}:rate=25,noise=alls=40:allf=t"
    made = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine", "-frames:v", str(COUNT), "-shortest", "-c:v", "ffv1"]
    subprocess.run(["ffmpeg", "-v", "error", *made, str(source)], check=True)
    outcome = run_example("video_pipe", model_file, source, result)
    assert outcome.returncode == 0, outcome.stderr
    assert f"{COUNT} frames of {SIZE[0]} x {SIZE[1]}" in outcome.stdout
    words = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_type,r_frame_rate", "-of", "json", str(result)]
    streams = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)["streams"]
    assert sorted(stream["codec_type"] for stream in streams) == ["audio", "video"]
    before, after = frames(source, *SIZE), frames(result, *SIZE)
    assert len(before) == len(after) == COUNT
    expected = Denoiser(model_file, "cpu").denoise(before)
    # The new file is compressed, the colors more than the brightness; each frame is still nearest to its own or a neighbor.
    gray, wanted = after.mean(axis=-1), expected.mean(axis=-1)
    assert np.abs(gray - wanted).mean() < 6
    for number in (0, COUNT // 2, COUNT - 1):
        assert np.abs(wanted - gray[number]).mean(axis=(1, 2)).argmin() == pytest.approx(number, abs=1)
