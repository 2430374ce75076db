"""`dae-run --measure`: the level of each file, and those that files of one camera at one ISO share."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import pyvips

from dae_runtime import Denoiser
from dae_runtime.images import Image, camera_of, read_image, write_image
from dae_runtime.pixels.advice import shared_level

SHOTS = {
    "a": (4, "EOS 5D", 1600),
    "b": (4, "EOS 5D", 1600),
    "c": (10, "EOS 5D", 6400),
    "d": (7, "", 0),
    "e": (10, "EOS 5D", 6400),
}


def write_shot(path: Path, sigma: float, model: str, iso: int, seed: int) -> Path:
    """Write slopes with white noise as a file of a camera."""
    slopes = np.add.outer(np.linspace(60, 120, 96), np.linspace(0, 60, 96))[..., None] * (1.0, 0.9, 1.1)
    noisy = slopes + np.random.default_rng(seed).normal(0, sigma, slopes.shape)
    image = pyvips.Image.new_from_array(np.rint(noisy).clip(0, 255).astype(np.uint8)).copy(interpretation="srgb")
    if model:
        image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Model", f"{model} ({model}, ASCII)")
        image.set_type(pyvips.GValue.gstr_type, "exif-ifd2-ISOSpeedRatings", f"{iso} ({iso}, Short)")
    image.write_to_file(str(path))
    return path


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    folder = tmp_path / "shots"
    (folder / "sub").mkdir(parents=True)
    for number, (name, shot) in enumerate(SHOTS.items()):
        write_shot(folder / ("sub" if name == "e" else "") / f"{name}.png", *shot, number)
    write_image(folder / "b.tif", read_image(folder / "b.png"))  # a TIFF has these tags in a place of its own
    (folder / "b.png").unlink()
    return folder


def test_files_of_one_camera_and_iso_share_a_level(dae_run, shots: Path) -> None:
    before = {path: path.read_bytes() for path in shots.rglob("*.*")}
    result = dae_run("--measure", shots, "-r")
    assert result.returncode == 0, result.stderr
    levels = {Path(path).stem: float(level) for level, path in re.findall(r"^ +([\d.]+) of 255  (.+)$", result.stdout, re.M)}
    assert levels.keys() == SHOTS.keys()
    with Denoiser("photo", "cpu", 1) as denoiser:
        for path in before:
            assert levels[path.stem] == pytest.approx(255 * (denoiser.advise(read_image(path).pixels) or 0), abs=0.051)
        strong = shared_level([denoiser.noise(read_image(path).pixels) for path in before if path.stem in "ce"])
    groups = dict(line.split(": ", 1) for line in result.stdout.splitlines()[5:])
    assert list(groups) == ["EOS 5D, ISO 1600", "EOS 5D, ISO 6400"]  # one file is no group
    level = f"{255 * strong:.1f}"
    assert groups["EOS 5D, ISO 6400"] == f"2 files, together {level} of 255: --sigma {level} tells it"
    assert {path: path.read_bytes() for path in shots.rglob("*.*")} == before
    assert [path.name for path in shots.parent.iterdir()] == ["shots"]


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_measured(dae_run, shots: Path) -> None:
    (shots / "bad.png").write_bytes((shots / "a.png").read_bytes()[:100])
    result = dae_run("--measure", shots)
    assert result.returncode == 3
    assert re.search(r"^failed: .*bad\.png: ", result.stderr, re.M)
    assert len(re.findall(r"of 255  ", result.stdout)) == 4


def test_gray_files_are_a_group_of_their_own(dae_run, tmp_path: Path) -> None:
    for number in range(4):
        path = write_shot(tmp_path / f"{number}.png", 6, "X-T5", 3200, number)
        if number > 1:
            write_image(path, Image(read_image(path).pixels[..., 0], metadata=read_image(path).metadata))
    lines = dae_run("--measure", tmp_path, "-q").stdout.splitlines()
    assert [line.split(" files")[0] for line in lines[4:]] == ["X-T5, ISO 3200: 2", "X-T5, ISO 3200, gray: 2"]


def test_a_model_that_estimates_by_itself_is_refused(dae_run, shots: Path) -> None:
    result = dae_run("--measure", shots, "-m", "color")
    assert result.returncode == 2
    assert "sigma has no use with the model color" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--measure needs IN"),
        (("-",), "--measure needs IN"),
        (("{shots}", "out"), "no OUT"),
        (("{shots}", "--sigma", "5"), "--sigma cannot be used with --measure"),
        (("{shots}", "--report", "page.html"), "--report cannot be used with --measure"),
        (("{shots}", "--watch"), "--watch cannot be used with --measure"),
        (("{shots}", "--doctor"), "exclude each other"),
        (("{shots}/none",), "does not exist"),
    ],
)
def test_wrong_usage(dae_run, shots: Path, arguments: tuple[str, ...], words: str) -> None:
    result = dae_run("--measure", *(argument.format(shots=shots) for argument in arguments))
    assert result.returncode == 2, result.stdout
    assert words in result.stderr


def test_what_is_no_camera(tmp_path: Path) -> None:
    assert camera_of({}) == ""
    for block in (b"", b"Exif\0\0", b"II*\0\x08\0\0\0", b"MM\0*\xff\xff\xff\xff", bytes(range(256))):
        assert camera_of({"exif-data": block}) == ""
    written = write_shot(tmp_path / "a.webp", 1, "A" * 200, 100, 0)
    assert camera_of(read_image(written).metadata) == "A" * 64 + ", ISO 100"
