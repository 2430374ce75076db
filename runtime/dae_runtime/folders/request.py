"""The request for a folder run, as plain data."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from ..errors import InputError
from ..inference import Controls
from ..jobs.shards import Shard
from ..system.bounds import MOST_IMAGES, MOST_MEMORY_MB, MOST_PIXELS, check_whole, shown

PathLike = str | os.PathLike[str]
_PATHS = ("source", "output", "reference", "manifest", "report", "files_from")
_FLAGS = ("recursive", "overwrite", "fail_fast", "resume", "retry_failed")
_RANGES = {
    "batch_size": (1, MOST_IMAGES),
    "max_pixels": (0, MOST_PIXELS),
    "max_memory_mb": (1, MOST_MEMORY_MB),
    "quality": (1, 100),
}


@dataclass(frozen=True)
class FolderRequest:
    """A request for a folder run, as plain data that can be sent to another process.

    Paths are kept as text: `dataclasses.asdict` returns JSON values, `FolderRequest(**values)` restores them; pickle works
    too. Relative paths are relative to the working folder of the process that runs it.

    Raises:
        InputError: A value has the wrong type or is out of range.
    """

    source: PathLike
    """An image file, a folder, or a glob (`**` for any depth). A path that exists is never taken as a glob. Or a URL of an
    object or a folder of objects, `s3://bucket/folder`, `gs://...`, `az://...`; likewise for `output` and `reference`."""
    output: PathLike
    """For one file, a file with an image suffix, or a folder: one that exists, or a name that ends in a slash or has no
    suffix. Else a folder, in which the input's tree is mirrored; it must lie outside `source`."""
    recursive: bool = False
    """Include sub-folders."""
    suffix: str = ""
    """Added to each name before the extension: `_clean` turns `a.png` into `a_clean.png`."""
    format: str | None = None
    """Extension of the outputs, such as `png`; None to keep each input's."""
    reference: PathLike | None = None
    """Folder with clean images of the same relative path (any image extension), or, for one input file, a file: each output is
    compared with its own."""
    strength: float = 1.0
    """Share of the change to apply, 0 to 1."""
    sigma: float | None = None
    """Noise level, 0 to 1, where white is 1, for models that are given it. None: measured for each file."""
    luma: float = 1.0
    """Share of the brightness noise to remove, 0 to 1."""
    color: float = 1.0
    """Share of the color noise to remove, 0 to 1."""
    detail: float = 0.0
    """Share of the fine structure in the removed part to put back, 0 to 1."""
    bits: int | None = None
    """Bits that the values of 16-bit files use, 9 to 16. None: detected for each file."""
    ensemble: int = 1
    """Copies of each image, flipped and turned, whose results are averaged: 1, 2, 4 or 8."""
    value_range: tuple[float, float] | None = None
    """Values of black and white of TIFFs with float or signed pixels, written in the same type. None refuses them."""
    quality: int | None = None
    """Of JPEG, AVIF and lossy WebP outputs, 1 to 100. None: that of a JPEG input, else 95, or 90 for AVIF."""
    batch_size: int | None = None
    """Files per thread and batch, 1 to 4096. None: up to 32, fewer if they are large."""
    max_pixels: int | None = None
    """Larger images fail. None: 2**29, which is 536 megapixels."""
    max_memory_mb: int | None = None
    """Memory limit in MiB, at least 1; give the denoiser the same. None: no limit."""
    overwrite: bool = False
    """Replace existing outputs. Inputs are never changed."""
    fail_fast: bool = False
    """Start no further file once one has failed."""
    resume: bool = False
    """Skip also files that failed before, and keep a manifest for a single file, too. That complete files are kept needs no
    flag; with `overwrite` it keeps those of this model and these settings, and replaces only the others."""
    retry_failed: bool = False
    """Like `resume`, but retry files that failed before."""
    manifest: PathLike | None = None
    """File that gets a line of JSON per finished image, by which the same request continues. None: `dae-manifest.jsonl` in
    the output's folder; none for a single file."""
    report: PathLike | None = None
    """HTML report with images and quality figures; None for none."""
    files_from: PathLike | None = None
    """List of the files of the folder `source` to denoise: relative names, one a line or ended by zero bytes; `-` is standard
    input. None: all images."""
    shard: str | None = None
    """`I/N`: do only share I of N, from `1/N` to `N/N`: N processes, on any machines, do the whole, at the same time or not.
    Each has a manifest of its own, which `merge_manifests` joins, and a report of its own. None: all files."""

    def __post_init__(self) -> None:
        for name in _PATHS:
            value = getattr(self, name)
            if value is None and name not in ("source", "output"):
                continue
            if not isinstance(value, str | os.PathLike) or not isinstance(text := os.fspath(value), str):
                raise InputError(
                    f"{name} must be a path, as text or pathlib.Path; received {shown(value)} ({type(value).__name__})."
                )
            if not text or "\0" in text:
                raise InputError(f"{name} must be a path, not {text!r}; '.' is the current folder.")
            object.__setattr__(self, name, text)
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be True or False, not {shown(getattr(self, name))}.")
        for name, text in (("suffix", self.suffix), ("format", "" if self.format is None else self.format)):
            if not isinstance(text, str):
                raise InputError(f"{name} must be text, not {shown(text)}.")
        if self.shard is not None and not isinstance(self.shard, str):
            raise InputError(f"shard must be text such as '3/16', not {shown(self.shard)}.")
        _ = self.controls, self.share  # checks them
        if self.value_range is not None:
            try:
                low, high = (float(value) for value in self.value_range)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"value_range must be two numbers, black and white, not {shown(self.value_range)}."
                ) from error
            if not -math.inf < low < high < math.inf:
                raise InputError(f"value_range must be two finite numbers, black below white, not {shown(self.value_range)}.")
            object.__setattr__(self, "value_range", (low, high))
        for name, (least, most) in _RANGES.items():
            number = getattr(self, name)
            if number is not None:
                check_whole(name, number, least, most)
                object.__setattr__(self, name, int(number))  # a plain value, also for numpy's numbers

    @property
    def controls(self) -> Controls:
        """What the user decides about the results."""
        return Controls(self.sigma, self.strength, self.luma, self.color, self.detail, self.bits, self.ensemble)

    @property
    def share(self) -> Shard | None:
        """The shard to do; None for all files."""
        return None if self.shard is None else Shard.parse(self.shard)

    @property
    def resumes(self) -> bool:
        """Whether an interrupted run continues."""
        return self.resume or self.retry_failed
