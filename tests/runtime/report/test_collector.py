from __future__ import annotations

import base64
import re
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dae_runtime import Denoiser, InputError, __version__
from dae_runtime.images import Image, read_image, write_image
from dae_runtime.jobs.plan import Job, plan
from dae_runtime.pixels.scores import Scores
from dae_runtime.report import RunReport, is_report
from dae_runtime.report.collector import MAX_ERRORS
from dae_runtime.report.figures import crop_side, noise_warning
from dae_runtime.report.residual import residual_picture, residual_structure

RNG = np.random.default_rng(0)


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def scene(shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (0.5 + 0.2 * np.sin(x / 23) + 0.2 * np.cos(y / 31)).astype(np.float32)


def write_folder(folder, count=2, shape=(70, 90), sigma=0.1):
    for part in ("in", "ref"):
        (folder / part).mkdir(exist_ok=True)
    for number in range(count):
        clean = scene(shape)
        noisy = np.clip(clean + sigma * RNG.standard_normal(shape), 0, 1)
        for part, pixels in (("in", noisy), ("ref", clean)):
            write_image(folder / part / f"{number:03}.png", Image(np.rint(255 * pixels).astype(np.uint8)))


def test_a_page_that_needs_nothing_else(dae_run, blur_file, tmp_path):
    write_folder(tmp_path)
    (tmp_path / "in" / "<script>&.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    report = tmp_path / "new" / "report.html"
    options = ("-m", blur_file, "--reference", tmp_path / "ref", "--report", report)
    result = dae_run(tmp_path / "in", tmp_path / "out", *options)
    assert result.returncode == 3, result.stderr
    page = Page(report)
    assert page.open == []
    assert len(page.all("script")) == 1
    assert not re.search(r"""(?:src|href)=["'](?!data:)|url\(|@import|https?:""", page.source)
    assert "<script>&.png" in page.text
    assert re.search(r"PSNR.*\d\d\.\d\d → \d\d\.\d\d dB", page.text, re.DOTALL)
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers)) == 2
    assert {each["aria-labelledby"] for each in page.all("article")} == set(identifiers)


def test_the_pictures_are_those_of_the_files(blur: Denoiser, tmp_path):
    write_folder(tmp_path, count=1)
    [job] = plan(tmp_path / "in", tmp_path / "out", reference=tmp_path / "ref")
    job.destination.parent.mkdir()
    write_image(job.destination, Image(np.full((70, 90), 77, np.uint8)))
    report = RunReport(blur.model, 1)
    report.add(job)
    report.write(tmp_path / "r.html", device="cpu", seconds=1.0)
    pictures = {each["class"]: each for each in Page(tmp_path / "r.html").all("img")}
    assert set(pictures) == {"before", "after", "residual", "reference"}
    assert all(each["alt"] for each in pictures.values())
    pixels = {}
    for kind, each in pictures.items():
        (tmp_path / kind).write_bytes(base64.b64decode(each["src"].partition(",")[2]))
        pixels[kind] = read_image(tmp_path / kind).pixels
    assert (pixels["after"] == 77).all()
    noisy = read_image(job.source).pixels
    np.testing.assert_array_equal(pixels["before"], noisy)
    brighter = noisy > 77 + 20
    assert pixels["residual"][brighter].min() > 128


def test_sliders_work_by_keyboard_and_touch(dae_run, blur_file, tmp_path):
    """Each range control has a name and moves its picture."""
    write_folder(tmp_path, count=3)
    assert dae_run(tmp_path / "in", tmp_path / "out", "-m", blur_file, "--report", tmp_path / "r.html").returncode == 0
    page = Page(tmp_path / "r.html")
    sliders = page.all("input")
    assert [slider["type"] for slider in sliders] == ["range"] * 3
    assert len({slider["aria-label"] for slider in sliders}) == 3
    assert "--x" in page.source


@pytest.mark.parametrize(("total", "shown"), [(1, 1), (5, 5), (24, 24), (25, 24), (100, 24), (1000, 24)])
def test_the_images_shown_are_spread_over_the_run(blur: Denoiser, total, shown):
    report = RunReport(blur.model, total)
    for number in range(total):
        report.add(
            Job(Path(f"{number}.png"), Path(f"out/{number}.png")), "broken" if number % 10 == 3 and total > 25 else None
        )
    numbers = [int(job.source.stem) for job, *_ in report._shown]
    assert len(numbers) == shown
    assert max(np.diff([0, *numbers, total])) <= total / shown + 2


def test_memory_does_not_grow_with_the_run(blur: Denoiser):
    def peak(count):
        tracemalloc.start()
        report = RunReport(blur.model, count)
        for number in range(count):
            report.add(Job(Path("a"), Path("b")), "broken" * 20 if number % 2 else None, Scores(1, 2, 0.1, 0.2))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size, report

    few, _ = peak(100)
    many, report = peak(20_000)
    assert many < 2 * few + 10_000
    assert len(report._errors) == MAX_ERRORS


@pytest.mark.slow
def test_the_page_stays_small_whatever_the_number(blur: Denoiser, tmp_path):
    write_folder(tmp_path, count=1, shape=(900, 900), sigma=0.15)
    [job] = plan(tmp_path / "in", tmp_path / "out")
    job.destination.parent.mkdir()
    write_image(job.destination, Image(np.rint(255 * scene((900, 900))).astype(np.uint8)))
    for count in (1, 24):
        report = RunReport(blur.model, count)
        for _ in range(count):
            report.add(job)
        report.write(tmp_path / "r.html", device="cpu", seconds=1.0)
        assert (tmp_path / "r.html").stat().st_size < 6e6
    assert 24 * crop_side(24) ** 2 <= 1.01 * crop_side(1) ** 2 * 24
    assert crop_side(1) > crop_side(24) >= 256


def test_missing_files_are_reported(blur: Denoiser, tmp_path):
    report = RunReport(blur.model, 1)
    report.add(Job(tmp_path / "gone.png", tmp_path / "out.png"))
    report.write(tmp_path / "r.html", device="cpu", seconds=1.0)
    page = Page(tmp_path / "r.html")
    assert "gone.png: cannot be read" in page.text


def test_an_image_that_cannot_be_shown_takes_no_page_from_the_others(blur: Denoiser, tmp_path, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("dae_runtime.report.collector.report_image", broken)
    report = RunReport(blur.model, 1)
    report.add(Job(tmp_path / "odd.png", tmp_path / "out.png"))
    report.write(tmp_path / "r.html", device="cpu", seconds=1.0)
    assert "odd.png: unexpected ZeroDivisionError: division by zero" in Page(tmp_path / "r.html").text


def test_a_report_is_recognized_among_other_pages(blur: Denoiser, tmp_path):
    page = tmp_path / "r.html"
    RunReport(blur.model, 0).write(page, device="cpu", seconds=0.0)
    (mark,) = (each for each in Page(page).all("meta") if each.get("name") == "generator")
    assert mark["content"] == f"dae-toolkit {__version__}"
    assert is_report(page)
    for content in (b"", b"<!doctype html><p>dae-toolkit", b"\xff\x00" * 999 + page.read_bytes()):
        page.write_bytes(content)
        assert not is_report(page)
    assert not is_report(tmp_path)


def test_a_report_that_cannot_be_written(blur: Denoiser, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        RunReport(blur.model, 0).write(tmp_path / "file" / "r.html", device="cpu", seconds=0.0)


@pytest.mark.parametrize(
    ("sigma", "noise", "word"),
    [
        (0.1, "gaussian:0.1", None),
        (0.1, "gaussian:0.02-0.2", None),
        (0.02, "gaussian:0.1", "weaker"),
        (0.3, "gaussian:0.02-0.1", "stronger"),
        (0.02, "unknown", None),
        (0.02, "poisson:30", None),
    ],
)
@pytest.mark.parametrize("ground", ["scene", "black"])
def test_noise_outside_the_training_range_is_reported(sigma, noise, word, ground):
    from dae_runtime.pixels.noise_level import noise_sigma

    clean = scene((200, 200)) if ground == "scene" else np.zeros((200, 200), np.float32)
    noisy = np.clip(clean + sigma * RNG.standard_normal(clean.shape), 0, 1).astype(np.float32)
    warning = noise_warning(noise_sigma(noisy), clean[..., None], noise)
    assert warning is None if word is None else word in warning


def test_a_residual_of_noise_is_white_and_one_of_detail_is_not():
    clean = scene((120, 160))[..., None]
    noise = 0.05 * RNG.standard_normal(clean.shape).astype(np.float32)
    assert residual_structure(clean + noise, clean).verdict.startswith("white")
    detail = 0.3 * (clean - 0.5)
    taken = residual_structure(clean + noise, clean - detail)
    assert taken.verdict == "carries structure"
    assert taken.with_image > 0.3
    smooth = (noise + np.roll(noise, 1, 1)) / 2
    assert residual_structure(clean + smooth, clean).verdict.startswith("smooth")
    assert residual_structure(clean + smooth, clean).horizontal > 0.3
    assert abs(residual_structure(clean + smooth, clean).vertical) < 0.1


@pytest.mark.parametrize("spread", [0.0, 0.001, 0.1])
def test_the_residual_is_shown_around_gray(spread):
    clean = np.full((50, 50, 3), 0.5, np.float32)
    picture, gain = residual_picture(clean + np.float32(spread) * RNG.standard_normal(clean.shape).astype(np.float32), clean)
    assert picture.mean() == pytest.approx(0.5, abs=0.02)
    assert picture.std() == pytest.approx(1 / 6 if spread else 0, abs=0.01)
    assert gain == (pytest.approx(1 / 6 / spread, rel=0.05) if spread else 1)


def test_a_fall_of_psnr_is_marked_with_the_worst(blur: Denoiser, tmp_path):
    write_folder(tmp_path, count=3)
    report = RunReport(blur.model, 3)
    jobs = plan(tmp_path / "in", tmp_path / "out", reference=tmp_path / "ref")
    for job, after in zip(jobs, (30.0, 24.5, 24.99), strict=True):
        job.destination.parent.mkdir(exist_ok=True)
        write_image(job.destination, read_image(job.reference))
        report.add(job, scores=Scores(25.0, after, 0.5, 0.6))
    report.write(tmp_path / "r.html", device="cpu", seconds=1.0)
    page = Page(tmp_path / "r.html")
    assert [article.get("class") for article in page.all("article")] == ["tiny", "tiny fell", "tiny"]
    assert page.text.count("PSNR fell by 0.50 dB") == 1
    assert f"1 of 3 compared are further from the reference than before, most {tmp_path}/in/001.png: by 0.50 dB" in page.text
    assert {"PSNR", "white noise, of 255", "neighbors"} <= set(re.findall(r"<div title=[^>]+><dt>([^<]+)<", page.source))
