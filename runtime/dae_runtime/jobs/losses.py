"""What an output lost: bits to its format, and quality against a reference."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import DaeError, MissingDependencyError
from ..images import FORMATS, KINDS_OF_8_BITS, Image, image_format
from ..pixels.arrays import Array
from ..pixels.scores import Scores, score
from ..system.messages import describe_error
from .plan import Job

logger = logging.getLogger(__name__)

LOSSLESS_KINDS = ("png", "tiff", "bmp", "pnm")
"""Lossless kinds of file."""
KINDS_OF_QUALITY = ("jpeg", "webp", "avif")
NO_QUALITY = "has no effect: it is for JPEG, AVIF and lossy WebP, and no output is one of these. --format jpg writes JPEG"
"""What is said of a quality that is given without need."""


def loses_unasked(job: Job, image: Image) -> bool:
    """Tell whether a lossless image is written lossy because its file name says so."""
    kind = image_format(job.destination)
    misnamed = FORMATS.get(job.source.suffix.lower()) == kind
    return misnamed and image.kind in LOSSLESS_KINDS and kind not in LOSSLESS_KINDS


def loses_depth(job: Job, image: Image) -> bool:
    """Tell whether a 16-bit image is reduced to 8 bits."""
    return image.pixels.dtype == np.uint16 and image_format(job.destination) in KINDS_OF_8_BITS


def compare(job: Job, image: Image, clean: Array, read: Callable[[Path], Image]) -> tuple[Scores | None, str | None]:
    """Compare what was written with the reference of a job, as `read` reads both; return the scores, or why there are none."""
    if job.reference is None:
        return None, f"{os.fspath(job.source)}: there is no reference with this name."
    try:
        reference = read(job.reference)
        return score(reference.pixels, image.pixels, _as_written(job, image, clean, read)), None
    except MissingDependencyError:
        raise
    except Exception as error:
        logger.debug("%s", job.reference, exc_info=True)
        return None, f"{os.fspath(job.source)}: cannot be compared: {describe_error(error)}"


def compare_again(job: Job, read: Callable[[Path], Image]) -> Scores | None:
    """Return the scores of an output that an earlier run wrote; None where there is no reference, or none that fits."""
    if job.reference is None:
        return None
    try:
        return compare(job, read(job.source), read(job.destination).page_pixels, read)[0]
    except DaeError:
        return None


def _as_written(job: Job, image: Image, clean: Array, read: Callable[[Path], Image]) -> Array:
    """Return the pixels of a job's output: as `read` reads them where the file has other ones than it was given."""
    clean = image.with_pixels(clean).pixels
    if image_format(job.destination) in LOSSLESS_KINDS and not loses_depth(job, image):
        return clean
    written = read(job.destination).pixels
    if clean.ndim == 2 and written.ndim == 3:  # gray as three equal channels, in WebP and AVIF
        written = written[..., 1]
    return written if written.shape[:2] == clean.shape[:2] else clean  # equal frames of a WebP become one
