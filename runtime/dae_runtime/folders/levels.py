"""The noise levels of image files, and those that photographs of one camera at one ISO share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DaeError
from ..images import camera_of
from ..inference import Denoiser
from ..jobs.locations import path_of
from ..jobs.places import storage_of
from ..jobs.results import JobOptions
from ..pixels.advice import Noise, level_of_pages, shared_level


@dataclass(frozen=True)
class FileLevel:
    """What was found in one file."""

    path: Path
    noise: tuple[Noise, ...] = ()
    """As `Denoiser.noise` gives it, of each page. Empty: the model that is for such an image estimates it, or `error`."""
    camera: str = ""
    """As `camera_of` gives it."""
    error: str | None = None
    """Why the file cannot be measured."""

    @property
    def level(self) -> float | None:
        """What its model is told, where white is 1; of several pages the root of the mean square."""
        return level_of_pages([noise.advised for noise in self.noise]) if self.noise else None


@dataclass(frozen=True)
class SharedLevel:
    """The noise level of files that belong together."""

    camera: str
    """Camera and ISO, as `camera_of` gives them; empty for files that do not tell."""
    is_gray: bool
    files: int
    level: float
    """As `shared_level` gives it, where white is 1."""


def measure_files(
    source: str | os.PathLike[str],
    denoiser: Denoiser,
    options: JobOptions,
    recursive: bool = False,
    files_from: str | os.PathLike[str] | None = None,
) -> Iterator[FileLevel]:
    """Find the files that a folder run would denoise, and yield their noise levels in its order; writes nothing.

    Args:
        source: As for `FolderRequest`.
        denoiser: Whose model is to be told the level.
        options: How to read the files.
        recursive: As for `FolderRequest`.
        files_from: As for `FolderRequest`.

    Raises:
        InputError: There is no input.
        ImageError: The folder cannot be read.
    """
    _, names = storage_of(path_of(source)).find(path_of(source), recursive, files_from, None)
    return (_measure(path_of(name), denoiser, options) for name in names)


def shared_levels(found: Iterable[FileLevel]) -> list[SharedLevel]:
    """Return the levels of files of one camera at one ISO, in the order of their names; files that do not tell come last."""
    groups: dict[tuple[bool, str, bool], list[FileLevel]] = {}
    for file in found:
        if file.noise:
            groups.setdefault((not file.camera, file.camera, file.noise[0].is_gray), []).append(file)
    return [
        SharedLevel(camera, is_gray, len(files), shared_level([noise for file in files for noise in file.noise]))
        for (_, camera, is_gray), files in sorted(groups.items(), key=lambda group: group[0])
    ]


def _measure(path: Path, denoiser: Denoiser, options: JobOptions) -> FileLevel:
    try:
        image = options.read(path)
        pages = list(image.pixels) if image.pixels.ndim == 4 else [image.pixels]
        found = [denoiser.noise(page, options.controls.bits) for page in pages]
    except (DaeError, OSError, MemoryError) as error:
        return FileLevel(path, error=str(error) or type(error).__name__)
    known = tuple(noise for noise in found if noise is not None)
    return FileLevel(path, known if len(known) == len(found) else (), camera_of(image.metadata))
