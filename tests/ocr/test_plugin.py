"""The plugin of OCRmyPDF, in real runs of it with Tesseract."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import img2pdf
import matplotlib
import numpy as np
import pikepdf
import pytest
from matplotlib.figure import Figure
from PIL import Image

from dae_tools.ocr_errors import character_errors, read_pages

matplotlib.use("agg")
OCRMYPDF = str(Path(sys.executable).with_name("ocrmypdf"))
SCAN_DPI = 150
LINES = (
    "The quick brown fox jumps over the lazy dog, and seven",
    "wizards box with a jam jar while nobody is watching.",
    "Invoices of March were paid on the fourth of April in",
    "full, as agreed between the two parties in the letter",
    "of the second of January. Nothing else is outstanding.",
    "We thank you for your order and remain at your service.",
) * 3
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tesseract") is None, reason="needs Tesseract: apt-get install tesseract-ocr"),
]


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    """A page of text with a shadow, a stain and grain, and its text."""
    folder = tmp_path_factory.mktemp("scan")
    figure = Figure(figsize=(6, 6), dpi=SCAN_DPI)
    for number, line in enumerate(LINES):
        figure.text(0.04, 0.94 - 0.05 * number, line, family="serif", size=13)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    clean = np.asarray(Image.open(content).convert("L"), np.float64)
    down, across = np.mgrid[0 : 1 : clean.shape[0] * 1j, 0 : 1 : clean.shape[1] * 1j]
    stain = 0.4 * np.exp(-((down - 0.4) ** 2 + (across - 0.6) ** 2) / 0.05)
    noisy = clean * (0.95 - 0.25 * across - stain) + np.random.default_rng(3).normal(0, 38, clean.shape)
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / "page.png")
    (folder / "page.txt").write_text("\n".join(LINES))
    return folder / "page.png"


@pytest.fixture
def pdf(scan, tmp_path) -> Path:
    path = tmp_path / "scan.pdf"
    path.write_bytes(img2pdf.convert(str(scan), layout_fun=img2pdf.get_fixed_dpi_layout_fun((SCAN_DPI, SCAN_DPI))))
    return path


def ocr(*options: object) -> subprocess.CompletedProcess[str]:
    line = [OCRMYPDF, "--plugin", "dae_ocrmypdf", "--output-type", "pdf", *map(str, options)]
    return subprocess.run(line, capture_output=True, text=True)


def picture(path: Path) -> np.ndarray:
    """Return the only picture of a PDF's page, gray."""
    with pikepdf.open(path) as pdf:
        (image,) = pdf.pages[0].images.values()
        return np.asarray(pikepdf.PdfImage(image).as_pil_image().convert("L"), np.float64)


def test_far_fewer_characters_are_wrong(scan):
    right = scan.with_suffix(".txt").read_text()
    plain, denoised = (
        character_errors(read_pages([scan], options, SCAN_DPI)[0], right) for options in ((), ("--plugin", "dae_ocrmypdf"))
    )
    assert plain > 0.3 * len(right)
    assert denoised < 0.03 * len(right)


def test_the_page_stays_as_it_was_scanned(pdf, scan, tmp_path):
    done = ocr(pdf, tmp_path / "out.pdf")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(picture(tmp_path / "out.pdf"), np.asarray(Image.open(scan)))


def test_the_page_is_denoised_where_that_is_wanted(pdf, tmp_path):
    done = ocr("--dae-final", "--force-ocr", "--optimize", 0, pdf, tmp_path / "out.pdf")
    assert done.returncode == 0, done.stderr
    before, after = picture(pdf), picture(tmp_path / "out.pdf")
    assert after.shape == before.shape
    edge = np.s_[-60:, :]  # below the text
    assert after[edge].std() < 0.6 * before[edge].std()
    with pikepdf.open(pdf) as first, pikepdf.open(tmp_path / "out.pdf") as second:
        assert [float(side) for side in first.pages[0].mediabox] == pytest.approx(
            [float(side) for side in second.pages[0].mediabox]
        )


@pytest.mark.parametrize(("models", "words"), [("nowhere.onnx", "nowhere.onnx"), (" , ", "needs the name of a model")])
def test_a_model_that_is_not_there_ends_it_before_the_first_page(pdf, tmp_path, models, words):
    done = ocr("--dae-models", models, pdf, tmp_path / "out.pdf")
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.pdf").exists()


def test_the_distance_of_texts():
    assert character_errors("kitten", "sitting") == 3
    assert character_errors("", "a\n b") == 3
    assert character_errors("a  b\n", "a b") == 0
