"""Denoise a video: a filter of raw frames that stands between two ffmpeg processes, or runs them itself.

python examples/video_pipe.py model.onnx noisy.mp4 clean.mp4

The frames never touch the disk, at most a few are in memory, and the sound is copied. The same as a line of shell:

ffmpeg -v error -i noisy.mp4 -f rawvideo -pix_fmt rgb24 - |
    dae-run -m model.onnx --raw 640x480x3 |
    ffmpeg -v error -f rawvideo -pix_fmt rgb24 -s 640x480 -r 25 -i - clean.mp4
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt

from dae_runtime import DaeError, Denoiser

Frame = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Video:
    """What has to be known of a video."""

    width: int
    height: int
    rate: str
    """Frames per second, as a fraction: 30000/1001."""


def probe(path: str) -> Video:
    """Ask ffprobe about the first video stream of a file."""
    fields = "stream=width,height,r_frame_rate"
    words = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", fields, "-of", "json", path]
    told = subprocess.run(words, check=False, capture_output=True, text=True)
    streams = json.loads(told.stdout or "{}").get("streams")
    if not streams:
        raise OSError(told.stderr.strip() or f"{path} has no video")
    [stream] = streams
    return Video(stream["width"], stream["height"], stream["r_frame_rate"])


def read_frames(source: IO[bytes], video: Video) -> Iterator[Frame]:
    """Yield raw RGB frames, (height, width, 3) uint8, until the stream ends.

    Raises:
        EOFError: The stream ends within a frame.
    """
    size = video.width * video.height * 3
    while data := source.read(size):
        if len(data) < size:
            raise EOFError(f"the stream ended within a frame: {len(data)} of {size} bytes")
        yield np.frombuffer(data, np.uint8).reshape(video.height, video.width, 3)


def main() -> None:
    """Decode with one ffmpeg, denoise, and encode with another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("source")
    parser.add_argument("destination")
    options = parser.parse_args()
    for program in ("ffprobe", "ffmpeg"):
        if shutil.which(program) is None:
            raise OSError(f"{program} is not installed. Install FFmpeg, which brings it.")
    video = probe(options.source)
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    decode = ["ffmpeg", "-v", "error", "-i", options.source, *raw, "-"]
    size = ["-s", f"{video.width}x{video.height}", "-r", video.rate]
    sound = ["-map", "0:v", "-map", "1:a?", "-c:a", "copy", "-pix_fmt", "yuv420p"]
    encode = ["ffmpeg", "-v", "error", "-y", *raw, *size, "-i", "-", "-i", options.source, *sound, options.destination]
    count = 0
    with (
        Denoiser(options.model) as denoiser,
        subprocess.Popen(decode, stdout=subprocess.PIPE) as decoder,
        subprocess.Popen(encode, stdin=subprocess.PIPE) as encoder,
    ):
        assert decoder.stdout is not None
        assert encoder.stdin is not None
        for frame in denoiser.stream(read_frames(decoder.stdout, video), batch_size=2):
            encoder.stdin.write(frame.tobytes())
            count += 1
    if decoder.returncode or encoder.returncode:
        raise SystemExit("ffmpeg failed; its own words are above")
    print(f"{count} frames of {video.width} x {video.height} denoised")


if __name__ == "__main__":
    try:
        main()
    except (DaeError, OSError) as error:  # no FFmpeg, or a wrong path
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
