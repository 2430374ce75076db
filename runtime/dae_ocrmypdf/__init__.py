"""Denoise scanned pages before OCR: a plugin of OCRmyPDF (https://ocrmypdf.readthedocs.io), from the extra `ocr`.

    ocrmypdf --plugin dae_ocrmypdf scan.pdf searchable.pdf

OCR sees the denoised page; the pages of the PDF stay as they were scanned, unless `--dae-final` is given.
"""

from __future__ import annotations

import functools
import logging
from argparse import ArgumentParser
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ocrmypdf import hookimpl
from ocrmypdf.exceptions import BadArgsError
from PIL import Image
from pydantic import BaseModel

from dae_runtime import DaeError, Denoiser

if TYPE_CHECKING:
    from ocrmypdf import OcrOptions, PageContext

MODELS = "gray,document"
"""The first takes the grain, which the second, made for stains, would take for writing."""
_SIMPLE_MODES = ("L", "RGB")

_log = logging.getLogger(__name__)


class DaeOptions(BaseModel):
    """Options of the plugin."""

    models: str = MODELS
    """Models in the order in which they are applied, separated by commas: bundled names or paths."""
    final: bool = False
    """Whether the pages of the PDF are denoised, too."""


@hookimpl
def register_options() -> dict[str, type[BaseModel]]:
    """Name the options to OCRmyPDF."""
    return {"dae": DaeOptions}


@hookimpl
def add_options(parser: ArgumentParser) -> None:
    """Add the options to its command line."""
    group = parser.add_argument_group("Denoising before OCR", "Options of the plugin dae_ocrmypdf")
    group.add_argument(
        "--dae-models",
        metavar="MODELS",
        default=MODELS,
        help="models in order, bundled names or .onnx files (default: %(default)s)",
    )
    group.add_argument("--dae-final", action="store_true", help="denoise the pages of the PDF, too; needs --force-ocr")


@hookimpl
def check_options(options: OcrOptions) -> None:
    """Open the models before the first page.

    Raises:
        BadArgsError: One of them cannot be opened, or there is none.
    """
    if not _names(options.dae.models):
        raise BadArgsError("--dae-models needs the name of a model, such as document.")
    try:
        for name in _names(options.dae.models):
            Denoiser(name, "cpu", 1).close()
    except DaeError as error:
        raise BadArgsError(f"--dae-models: {error}") from error


@hookimpl(wrapper=True)
def filter_ocr_image(page: PageContext, image: Image.Image) -> Generator[None, Image.Image | None, Image.Image]:
    """Return the page as OCR shall see it: gray, denoised, of the same size and resolution."""
    filtered = yield  # of other plugins, such as the limit of Tesseract
    seen = image if filtered is None else filtered
    return _denoised(page, seen if seen.mode == "1" else seen.convert("L"))


@hookimpl
def filter_page_image(page: PageContext, image_filename: Path) -> Path:
    """Denoise the page of the PDF, where that is wanted."""
    if page.options.dae.final:
        with Image.open(image_filename) as image:
            clean = _denoised(page, image)
            if clean is not image:
                clean.save(image_filename, dpi=image.info.get("dpi"), icc_profile=image.info.get("icc_profile"))
    return image_filename


def _denoised(page: PageContext, image: Image.Image) -> Image.Image:
    """Return an image without noise; the image itself where that is impossible, which loses nothing."""
    if image.mode not in _SIMPLE_MODES:
        _log.info("page %d is %s and stays as it is", page.pageno + 1, image.mode)
        return image
    threads = 1 if page.options.jobs is None or page.options.jobs > 1 else None
    pixels = np.asarray(image)
    try:
        for name in _names(page.options.dae.models):
            pixels = _opened(name, threads).denoise(pixels)
    except DaeError as error:
        _log.warning("page %d is not denoised: %s", page.pageno + 1, error)
        return image
    clean = Image.fromarray(pixels)
    clean.info.update(image.info)
    return clean


def _names(models: str) -> list[str]:
    return [name.strip() for name in models.split(",") if name.strip()]


@functools.cache
def _opened(name: str, threads: int | None) -> Denoiser:
    return Denoiser(name, "cpu", threads)
