"""The report of a run covers what earlier runs have made, whatever is left to do."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builders import make_model, random_pixels
from dae_runtime import Denoiser, FolderRequest, run_folder
from dae_runtime.images import Image, write_image


@pytest.fixture
def request_(tmp_path: Path) -> FolderRequest:
    """Twelve images, the last of them broken, with references."""
    for part, seed in (("in", 0), ("ref", 100)):
        (tmp_path / part).mkdir()
        for number in range(11):
            write_image(tmp_path / part / f"{number:02}.png", Image(random_pixels((24, 30), seed=seed + number)))
    (tmp_path / "in" / "11.png").write_text("text")
    return FolderRequest(tmp_path / "in", tmp_path / "out", reference=tmp_path / "ref", resume=True)


def told(page: Path) -> tuple[dict[str, str], list[str], str]:
    """Return the tiles of a page by their names, the names of the images shown, and its text."""
    text = page.read_text("utf-8")
    tiles = text.partition('<dl class="tiles">')[2].partition("</dl>")[0]
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", tiles)
    return dict(pairs), re.findall(r'<h2 id="i\d+"[^>]*>(.*?)</h2>', text), re.sub("<[^>]+>", " ", text.partition("<main>")[0])


@pytest.mark.parametrize("left", [0, 3, 11])
def test_what_is_kept_is_reported_as_what_is_done(tmp_path, blur_file, request_, left):
    with Denoiser(blur_file, "cpu", 1) as denoiser:
        run_folder(replace(request_, report=tmp_path / "whole.html"), denoiser)
        for number in range(0, left):
            (tmp_path / "out" / f"{number:02}.png").unlink()
        outcome = run_folder(replace(request_, report=tmp_path / "again.html"), denoiser)
    assert (outcome.done, outcome.skipped, outcome.failed) == (left, 11 - left, 1)
    tiles, names, _ = told(tmp_path / "whole.html")
    again, shown, words = told(tmp_path / "again.html")
    assert shown == names == [f"{number:02}.png" for number in range(11)]
    before = f", {11 - left} of them before" if left < 11 else ""
    assert again[f"images denoised{before}, 1 failed"] == tiles["images denoised, 1 failed"] == "11"
    figures = ["PSNR, mean of 11", "SSIM, mean of 11", "white noise, of 255"]
    assert [again[name] for name in figures] == [tiles[name] for name in figures]
    assert "Denoised with tiny" in words
    assert "11.png: " in words.partition("Failed")[2]


def test_levels_and_losses_come_from_the_manifest(tmp_path):
    (tmp_path / "model.onnx").write_bytes(make_model(gain=10.0))
    source = Path(__file__).parents[3] / "examples" / "noisy"
    (tmp_path / "in").mkdir()
    shutil.copy(sorted(source.iterdir())[0], tmp_path / "in")
    request = FolderRequest(tmp_path / "in", tmp_path / "out")
    with Denoiser(tmp_path / "model.onnx", "cpu", 1) as denoiser:
        first, second = (replace(request, report=tmp_path / f"{name}.html") for name in "ab")
        assert [run_folder(each, denoiser).done for each in (first, second)] == [1, 0]
    levels = [
        re.findall(r"<dt>level given, of 255</dt><dd>([\d.]+)<", (tmp_path / name).read_text())
        for name in ("a.html", "b.html")
    ]
    assert levels[0] == levels[1] != []


def test_an_output_changed_since_is_told_and_not_judged(tmp_path, blur_file, request_):
    with Denoiser(blur_file, "cpu", 1) as denoiser:
        run_folder(request_, denoiser)
        write_image(tmp_path / "out" / "04.png", Image(np.zeros((24, 30), np.uint8)))
        run_folder(replace(request_, report=tmp_path / "r.html"), denoiser)
    tiles, shown, words = told(tmp_path / "r.html")
    assert tiles["images denoised, 10 of them before, 1 failed"] == "10"
    assert "04.png" not in shown
    assert "1 output of an earlier run changed since by another program: not judged here" in words


def test_a_page_over_kept_files_alone_names_no_single_default_model(tmp_path, dae_run):
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", Image(random_pixels((24, 30, 3))))
    command = (tmp_path / "in", tmp_path / "out", "--device", "cpu")
    assert dae_run(*command).returncode == 0
    done = dae_run(*command, "--report", tmp_path / "r.html")
    assert (done.returncode, done.stderr.splitlines()) == (
        0,
        ["1 kept from before, nothing to do", f"{tmp_path}/r.html covers the files kept from before, too"],
    )
    _, shown, words = told(tmp_path / "r.html")
    assert shown == ["a.png"]
    assert "Denoised with the default models" in words
