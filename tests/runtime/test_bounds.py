"""Every number that a user may give has a bound: whatever the value, the call works or an InputError says what is wrong."""

from __future__ import annotations

import contextlib
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from any_value import HUGE, anything
from builders import invoke
from dae_runtime import Denoiser, FolderRequest, ImageError, InputError, ModelError
from dae_runtime.cli.command import command
from dae_runtime.images import decode, encode
from dae_runtime.inference import Controls
from dae_runtime.inference.grouping import MOST_VALUES, windows
from dae_runtime.jobs.streams import parse_frame
from dae_runtime.system.bounds import MOST_IMAGES, MOST_MEMORY_MB, MOST_PIXELS, MOST_THREADS, shown

PIXELS = np.zeros((8, 8), np.uint8)
PNG = encode(PIXELS, "png")
REQUEST = ("recursive", "suffix", "format", "reference", "strength", "sigma", "luma", "color", "detail", "bits", "batch_size")
REQUEST += (
    "ensemble",
    "max_pixels",
    "max_memory_mb",
    "overwrite",
    "fail_fast",
    "resume",
    "retry_failed",
    "manifest",
    "report",
)

examples = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def calls(blur_bytes):
    """Functions of one argument each, by name."""
    with Denoiser(blur_bytes, "cpu", 1) as denoiser:
        names = ("sigma", "strength", "luma", "color", "detail", "bits", "ensemble")
        yield {
            **{f"Controls({name})": partial(_keyword, Controls, name) for name in names},
            **{f"denoise({name})": partial(_keyword, partial(denoiser.denoise, PIXELS), name) for name in (*names, "cancel")},
            **{f"stream({name})": partial(_stream, denoiser, name) for name in (*names, "cancel", "batch_size")},
            **{f"FolderRequest({name})": partial(_keyword, partial(FolderRequest, "in", "out"), name) for name in REQUEST},
            "FolderRequest(source)": lambda value: FolderRequest(value, "out"),
            "measure(bits)": lambda value: denoiser.measure(PIXELS, value),
            "stream(images)": lambda value: list(denoiser.stream(value)),
            "denoise(noisy)": denoiser.denoise,
            "decode(max_pixels)": lambda value: decode(PNG, value),
        }


def _keyword(call, name, value):
    return call(**{name: value})


def _stream(denoiser, name, value):
    return list(denoiser.stream([PIXELS], **{name: value}))


@examples
@given(value=anything)
@example(HUGE)
def test_any_value_of_any_argument_works_or_is_an_input_error(calls, value):
    for name, call in calls.items():
        allowed = (InputError, ImageError) if name == "decode(max_pixels)" else InputError
        try:
            call(value)
        except Exception as error:
            if not isinstance(error, allowed) or len(str(error)) > 1000:
                raise AssertionError(f"{name} with {shown(value)}: {type(error).__name__}") from error


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(["model", "device", "threads", "tile_px", "max_memory_mb"]), value=anything)
@example("threads", 100_000)
@example("threads", HUGE)
@example("max_memory_mb", HUGE)
@example("model", {})
@example("model", {"": 0})
@example("model", {1: "gray", 3: "photo", 6: "color"})
def test_any_argument_of_a_denoiser_works_or_is_an_input_error(blur_bytes, name, value):
    arguments = {"model": blur_bytes, "device": "cpu", "threads": 1} | {name: value}
    with contextlib.suppress(InputError, ModelError), Denoiser(**arguments):
        assert name != "threads" or value is None or 1 <= value <= MOST_THREADS


OPTIONS = {
    "--threads": MOST_THREADS,
    "--batch-size": MOST_IMAGES,
    "--tile-size": 65_536,
    "--max-memory-mb": MOST_MEMORY_MB,
    "--max-megapixels": MOST_PIXELS / 1e6,
    "--strength": 1,
    "--sigma": 255,
    "--luma": 1,
    "--color": 1,
    "--detail": 1,
    "--bits": 16,
    "--ensemble": 8,
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e400", "9" * 400, "9" * 5000, "above"])
def test_a_number_beyond_its_bound_is_wrong_usage(tmp_path, blur_file, option, value):
    text = str(OPTIONS[option] + 1) if value == "above" else value
    (tmp_path / "in.pgm").write_bytes(encode(PIXELS, "pgm"))
    for source, output in ((tmp_path / "in.pgm", tmp_path / "out.pgm"), (tmp_path, tmp_path / "out")):
        result = invoke(command, "-m", blur_file, source, output, f"{option}={text}")
        assert result.exit_code == 2, result.output
        assert option in result.stderr
        assert not output.exists()


@pytest.mark.parametrize("frame", ["999999x999999x4", "65536x65536", "32768x16385x1", f"1x{'9' * 5000}"])
def test_a_raw_frame_is_bounded_by_its_pixels(tmp_path, blur_file, frame):
    with pytest.raises(InputError):
        parse_frame(frame)
    (tmp_path / "in.raw").write_bytes(b"x")
    assert invoke(command, "-m", blur_file, "--raw", frame, tmp_path / "in.raw", tmp_path / "out.raw").exit_code == 2


@given(sizes=st.lists(st.integers(1, MOST_VALUES), max_size=12), batch_size=st.none() | st.integers(1, MOST_IMAGES))
def test_a_batch_is_bounded_by_its_values(sizes, batch_size):
    lists = list(windows(sizes, lambda size: size, batch_size))
    assert [size for window in lists for size in window] == sizes
    assert all(sum(window[:-1]) < MOST_VALUES for window in lists)
