"""Print how many characters OCRmyPDF reads wrong in noisy pages, without and with the plugin that denoises them.

Each folder of pages becomes a PDF, which goes through `ocrmypdf` and Tesseract. The right text is in a .txt file beside
the noisy image, or is what Tesseract reads in the clean one.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import img2pdf
import numpy as np

from dae_runtime.images import find_images

PLUGIN = ("--plugin", "dae_ocrmypdf")
NEW_PAGE = "\f"


def character_errors(read: str, right: str) -> int:
    """Return the Levenshtein distance of two texts, in which runs of white space count as one space."""
    first, second = (np.array([ord(letter) for letter in " ".join(text.split())], np.int64) for text in (read, right))
    row = np.arange(len(second) + 1)
    for place, letter in enumerate(first, 1):
        cheapest = np.concatenate(([place], np.minimum(row[1:] + 1, row[:-1] + (second != letter))))
        row = np.minimum.accumulate(cheapest - np.arange(len(cheapest))) + np.arange(len(cheapest))
    return int(row[-1])


def read_pages(images: Sequence[Path], options: Sequence[str], dpi: int) -> list[str]:
    """Return the text that OCRmyPDF puts behind each page.

    Raises:
        click.ClickException: It fails; the message is its own.
    """
    with tempfile.TemporaryDirectory() as folder:
        pdf, text = Path(folder, "pages.pdf"), Path(folder, "text.txt")
        layout = img2pdf.get_fixed_dpi_layout_fun((dpi, dpi))
        pdf.write_bytes(img2pdf.convert([str(path) for path in images], layout_fun=layout))
        line = [
            str(Path(sys.executable).with_name("ocrmypdf")),
            "--quiet",
            "--output-type",
            "pdf",
            "--sidecar",
            str(text),
            *options,
        ]
        done = subprocess.run([*line, str(pdf), str(pdf.with_name("out.pdf"))], capture_output=True, text=True, check=False)
        if done.returncode:
            raise click.ClickException(done.stderr.strip() or f"ocrmypdf ended with {done.returncode}.")
        return text.read_text("utf-8").split(NEW_PAGE)[: len(images)]


def checked(path: Path) -> Path:
    """Return the path of a file that is there.

    Raises:
        click.ClickException: It is not.
    """
    if not path.is_file():
        raise click.ClickException(
            f"{path} is missing: the right text of a page is in a .txt beside it, or in its clean image."
        )
    return path


@click.command()
@click.option("--noisy", required=True, type=click.Path(exists=True, file_okay=False), help="Scanned pages.")
@click.option("--clean", type=click.Path(exists=True, file_okay=False), help="The same pages clean, where there is no text.")
@click.option("--dpi", default=150, show_default=True, help="Resolution of the pages.")
@click.option("--models", help="--dae-models of the plugin.")
def main(noisy: str, clean: str | None, dpi: int, models: str | None) -> None:
    """Compare OCR of noisy pages with and without denoising."""
    pages = find_images(noisy)
    if clean is None:
        right = [checked(page.with_suffix(".txt")).read_text("utf-8") for page in pages]
    else:
        right = read_pages([checked(Path(clean, page.name)) for page in pages], (), dpi)
    total = sum(len(" ".join(text.split())) for text in right)
    for words, options in (("as scanned", ()), ("denoised", (*PLUGIN, *(("--dae-models", models) if models else ())))):
        wrong = sum(map(character_errors, read_pages(pages, options, dpi), right))
        click.echo(f"{words}: {wrong} of {total} characters wrong ({100 * wrong / total:.1f} %) on {len(pages)} pages")


if __name__ == "__main__":
    main()
