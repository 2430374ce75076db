"""`--sigma`, `--luma`, `--color`, `--detail`, `--bits`, `--ensemble`: what they do, where they are noted, what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest

from builders import invoke, make_model, random_pixels
from dae_runtime import Denoiser, FolderRequest, InputError, run_folder
from dae_runtime.cli.command import command
from dae_runtime.images import FORMATS, Image, read_image, write_image
from dae_runtime.inference.controls import Controls
from dae_runtime.jobs.streams import denoise_file_bytes, denoise_raw


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "told.onnx"
    path.write_bytes(make_model(channels=3, gain=8.0, alignment=4))
    return path


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, sigma in enumerate((6, 12, 12)):
        noise = np.random.default_rng(number).normal(0, sigma, (64, 80, 3))
        write_image(folder / f"{number}.png", Image(np.clip(np.rint(120 + noise), 0, 255).astype(np.uint8)))
    return folder


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_files_advised_level_is_printed_noted_and_shown(tmp_path, photographs, model):
    out, page = tmp_path / "out", tmp_path / "report.html"
    result = invoke(command, "-m", model, photographs, out, "-v", "--resume", "--report", page)
    assert result.exit_code == 0, result.output
    with Denoiser(model, "cpu", 1) as denoiser:
        for number in range(3):
            pixels = read_image(photographs / f"{number}.png").pixels
            assert 255 * denoiser.measure(pixels) == pytest.approx((6, 12, 12)[number], rel=0.25)
            level = denoiser.advise(pixels)
            assert f"{number}.png: noise level {255 * level:.2f} of 255\n" in result.output
            np.testing.assert_array_equal(read_image(out / f"{number}.png").pixels, denoiser.denoise(pixels))
            done = [line for line in lines(out / "dae-manifest.jsonl") if line["path"].endswith(f"{number}.png")][-1]
            assert done["level"] == pytest.approx(level, abs=1e-6)
            assert (done["sigma"], done["luma"], done["detail"]) == (None, 1.0, 0.0)
            assert f"{255 * level:.1f}</dd>" in page.read_text()


def test_the_options_are_the_arguments_of_denoise(tmp_path, photographs, model):
    out = tmp_path / "out"
    options = ("--sigma", 10.2, "--luma", 0.6, "--color", 0.9, "--detail", 0.4, "--strength", 0.8)
    options += ("--ensemble", 4)
    result = invoke(command, "-m", model, photographs, out, "--manifest", tmp_path / "m.jsonl", *options)
    assert result.exit_code == 0, result.output
    controls = {"sigma": 10.2 / 255, "luma": 0.6, "color": 0.9, "detail": 0.4, "strength": 0.8, "ensemble": 4}
    with Denoiser(model, "cpu", 1) as denoiser:
        pixels = read_image(photographs / "0.png").pixels
        expected = denoiser.denoise(pixels, **controls)
        np.testing.assert_array_equal(read_image(out / "0.png").pixels, expected)
        run_folder(FolderRequest(photographs, tmp_path / "again", **controls), denoiser)
        np.testing.assert_array_equal(read_image(tmp_path / "again" / "0.png").pixels, expected)
        content = denoise_file_bytes(denoiser, (photographs / "0.png").read_bytes(), controls=Controls(**controls))
        assert content == (tmp_path / "again" / "0.png").read_bytes()
    assert [line["level"] for line in lines(tmp_path / "m.jsonl") if line["status"] == "done"] == [0.04] * 3


@pytest.mark.parametrize(("option", "value", "text"), [
    ("--luma", 0.5, "luma 1 instead of 0.5"),
    ("--color", 0.5, "color 1 instead of 0.5"),
    ("--detail", 0.5, "detail 0 instead of 0.5"),
    ("--sigma", 5.1, "sigma chosen by itself instead of 5.1 of 255"),
    ("--ensemble", 2, "ensemble 1 instead of 2"),
    ("--bits", 12, "bits chosen by itself instead of 12"),
])  # fmt: skip
def test_outputs_of_other_settings_are_replaced_only_when_asked_to(tmp_path, photographs, model, option, value, text):
    begin = ("-m", model, photographs, tmp_path / "out", "--resume")
    assert invoke(command, *begin).exit_code == 0
    assert "3 already complete" in invoke(command, *begin).output
    refused = invoke(command, *begin, option, value)
    assert refused.exit_code == 1
    assert text in str(refused.exception)
    assert "3 of 3 files denoised" in invoke(command, *begin, option, value, "--overwrite").output


def test_lines_of_an_older_manifest_count_as_made_with_the_defaults(tmp_path, photographs, model):
    begin = ("-m", model, photographs, tmp_path / "out", "--resume")
    assert invoke(command, *begin).exit_code == 0
    manifest = tmp_path / "out" / "dae-manifest.jsonl"
    old = [
        {
            k: v
            for k, v in line.items()
            if k not in ("sigma", "luma", "color", "detail", "bits", "ensemble", "level", "lost", "value_range")
        }
        for line in lines(manifest)
    ]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in old))
    assert "3 already complete" in invoke(command, *begin).output


def test_a_level_for_a_model_that_estimates_by_itself_ends_the_run_before_its_first_file(tmp_path, images, blur_file):
    for extra in ((), ("--resume",)):
        result = invoke(command, "-m", blur_file, images, tmp_path / "out", "--sigma", 10, *extra)
        assert result.exit_code == 1
        assert isinstance(result.exception, InputError)
        assert "estimates the noise by itself" in str(result.exception)
    assert list(tmp_path.glob("out/*.png")) == []
    with Denoiser(blur_file, "cpu", 1) as denoiser, pytest.raises(InputError, match="estimates the noise by itself"):
        denoise_raw(denoiser, (images / "0.png").open("rb"), (tmp_path / "x").open("wb"), (4, 4, 1), controls=Controls(0.1))


@pytest.mark.parametrize("option", ["--luma", "--color", "--detail", "--sigma"])
def test_wrong_numbers_are_wrong_usage(tmp_path, images, blur_file, option):
    for value in ("-0.1", "nan", "inf", "256"):
        result = invoke(command, "-m", blur_file, images, tmp_path / "out", option, value)
        assert result.exit_code == 2
        assert f"Invalid value for '{option}'" in result.output


@pytest.mark.parametrize("value", ["0", "3", "2.0", "True", "16", ""])
def test_another_size_of_an_ensemble_is_wrong_usage(tmp_path, images, blur_file, value):
    result = invoke(command, "-m", blur_file, images, tmp_path / "out", f"--ensemble={value}")
    assert result.exit_code == 2
    assert "Invalid value for '--ensemble'" in result.output
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_take_an_ensemble_ends_the_run_before_its_first_file(tmp_path, images):
    path = tmp_path / "wide.onnx"
    path.write_bytes(make_model(size=(16, 24)))
    result = invoke(command, "-m", path, images, tmp_path / "out", "--ensemble", 8)
    assert result.exit_code == 1
    assert isinstance(result.exception, InputError)
    assert "--ensemble 4" in str(result.exception)
    assert list(tmp_path.glob("out/*.png")) == []


def test_pages_have_levels_of_their_own(tmp_path, model):
    pages = np.concatenate([np.random.default_rng(n).normal(120, sigma, (64, 80, 3)) for n, sigma in enumerate((4, 16))])
    source = tmp_path / "in.tif"
    write_image(source, Image(np.clip(np.rint(pages), 0, 255).astype(np.uint8), pages=2, kind="tiff"))
    with Denoiser(model, "cpu", 1) as denoiser:
        outcome = run_folder(FolderRequest(source, tmp_path / "out.tif", manifest=tmp_path / "m.jsonl"), denoiser)
        levels = [denoiser.advise(page) for page in read_image(source).page_pixels]
        expected = denoiser.denoise(read_image(source).page_pixels, sigma=levels)
    assert outcome.done == 1
    np.testing.assert_array_equal(read_image(tmp_path / "out.tif").page_pixels, expected)
    assert lines(tmp_path / "m.jsonl")[-1]["level"] == pytest.approx(np.sqrt(np.mean(np.square(levels))), abs=1e-6)


def test_12_bits_in_16_bit_files_stay_on_their_scale(tmp_path, images, blur_file):
    source = tmp_path / "scan.png"
    pixels = random_pixels((16, 20), np.uint16) >> 5
    write_image(source, Image(pixels))
    assert invoke(command, "-m", blur_file, source, tmp_path / "out.png", "--bits", 12).exit_code == 0
    with Denoiser(blur_file, "cpu", 1) as denoiser:
        np.testing.assert_array_equal(read_image(tmp_path / "out.png").pixels, denoiser.denoise(pixels, bits=12))


def test_a_quality_for_folders_and_streams(tmp_path, photographs, model):
    sizes = {}
    for quality in (20, 95):
        options = ("-m", model, "--quality", quality)
        assert invoke(command, *options, photographs, tmp_path / f"{quality}", "--format", "jpg").exit_code == 0
        sizes[quality] = sum(path.stat().st_size for path in (tmp_path / f"{quality}").glob("*.jpg"))
        data = (photographs / "0.png").read_bytes()
        with Denoiser(model, "cpu", 1) as denoiser:
            stream = denoise_file_bytes(denoiser, data, "jpeg", quality=quality)
        assert stream == (tmp_path / f"{quality}" / "0.jpg").read_bytes()
    assert sizes[20] < sizes[95]
    refused = invoke(command, "-m", model, "--quality", 101, photographs, tmp_path / "out")
    assert refused.exit_code == 2
    assert "--quality" in refused.stderr


@pytest.mark.parametrize("suffix", sorted({*FORMATS} - {".pgm"}))  # the photographs have colors
def test_a_quality_that_no_output_can_have_is_told(tmp_path, photographs, model, suffix):
    """For a folder, a plan of it, one file and a stream; and not where quiet, or where one output has a quality."""
    unused = FORMATS[suffix] not in ("jpeg", "webp", "avif")
    command_line = ("-m", model, "--device", "cpu", "--quality", 80)
    folder = (*command_line, photographs, tmp_path / "out", "--format", suffix)
    source = photographs / "0.png"
    for arguments in (
        (*folder, "--dry-run"),
        folder,
        (*command_line, source, tmp_path / f"one{suffix}"),
        (*folder[:-4], source, "-", *folder[-2:]),
    ):
        told = invoke(command, *arguments)
        assert told.exit_code == 0, told.stderr
        assert told.stderr.count("quality 80 has no effect: it is for JPEG, AVIF and lossy WebP") == unused
    assert "no effect" not in invoke(command, "-q", *folder, "--overwrite").stderr
    write_image(photographs / "a.jpg", Image(random_pixels((16, 20))))
    assert "no effect" not in invoke(command, *command_line, photographs, tmp_path / "mixed").stderr
