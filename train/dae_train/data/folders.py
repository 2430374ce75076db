"""Images from folders, alone or in noisy and clean pairs, kept in memory in the dtype of the files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dae_runtime.errors import DaeError
from dae_runtime.system.messages import printable

from ..errors import DataError
from .image_set import ImageSet, Pixels, check_pixels, to_channels

_MAX_LISTED = 20


def read_folder(folder: Path, channels: int | None, limit: int | None) -> tuple[ImageSet, None, str]:
    """Read all images below a folder, in the order of their paths.

    Args:
        folder: Searched recursively.
        channels: 1 or 3; None: 3 if any image has color.
        limit: Use only the first `limit` images.

    Returns:
        The images, no test images, and the SHA-256 over relative paths and file contents.

    Raises:
        DataError: There are no images, or some cannot be read; the text lists them.
    """
    paths = _find(folder)[:limit]
    images, problems = _read_all(paths)
    _raise_for(problems, folder)
    names = [path.relative_to(folder).as_posix() for path in paths]
    return ImageSet(_as_channels(images, channels), names=names), None, _digest(folder, paths)


def read_pairs(noisy: Path, clean: Path, channels: int | None, limit: int | None) -> tuple[ImageSet, None, str]:
    """Read noisy images and the clean images of the same relative paths.

    Args:
        noisy: Folder, searched recursively.
        clean: Folder with exactly the same relative paths.
        channels: 1 or 3; None: 3 if any image has color.
        limit: Use only the first `limit` pairs.

    Returns:
        The pairs, no test images, and the SHA-256 over relative paths and file contents.

    Raises:
        DataError: Images have no counterpart, cannot be read, or differ in size; the text lists them.
    """
    names, problems = _match(noisy, clean)
    names = names[:limit]
    first, first_problems = _read_all([noisy / name for name in names])
    second, second_problems = _read_all([clean / name for name in names])
    sizes = [
        f"{name}: {_size(a)} noisy, {_size(b)} clean"
        for name, a, b in zip(names, first, second, strict=True)
        if a is not None and b is not None and a.shape[:2] != b.shape[:2]
    ]
    _raise_for([*problems, *first_problems, *second_problems, *sizes], noisy)
    both = _as_channels([*first, *second], channels)
    digest = _digest(noisy, [noisy / name for name in names]) + _digest(clean, [clean / name for name in names])
    pairs = ImageSet(both[len(names) :], both[: len(names)], names=[name.as_posix() for name in names])
    return pairs, None, hashlib.sha256(digest.encode()).hexdigest()


def read_some(folder: Path, at_most: int) -> Iterator[Pixels]:
    """Yield images below a folder, (H, W, C), in the dtype of the files.

    Args:
        folder: Searched recursively.
        at_most: Number of images, evenly spaced in the order of paths if there are more.

    Raises:
        DataError: There are no images, or one cannot be read.
    """
    paths = _find(folder)
    for index in range(min(at_most, len(paths))):
        image = _read(paths[index * len(paths) // min(at_most, len(paths))])
        if isinstance(image, str):
            _raise_for([image], folder)
        else:
            yield image


def _find(folder: Path) -> list[Path]:
    from dae_runtime.images import IMAGE_SUFFIXES, find_images

    paths = list(find_images(folder, recursive=True))
    if not paths:
        raise DataError(f"{folder} holds no images. Expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}.")
    return paths


def _match(noisy: Path, clean: Path) -> tuple[list[Path], list[str]]:
    first = {path.relative_to(noisy) for path in _find(noisy)}
    second = {path.relative_to(clean) for path in _find(clean)}
    unmatched = [f"{noisy / name}: no clean counterpart {clean / name}" for name in sorted(first - second)]
    unmatched += [f"{clean / name}: no noisy counterpart {noisy / name}" for name in sorted(second - first)]
    return sorted(first & second), unmatched


def _read_all(paths: Sequence[Path]) -> tuple[list[Pixels | None], list[str]]:
    """Return the images, None where unreadable, and the error messages."""
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(_read, paths))
    return [None if isinstance(r, str) else r for r in results], [r for r in results if isinstance(r, str)]


def _read(path: Path) -> Pixels | str:
    from dae_runtime.images import read_image

    try:
        pixels = np.asarray(read_image(path).pixels)
        return check_pixels(pixels if pixels.ndim == 3 else pixels[..., np.newaxis], str(path))
    except (DaeError, OSError) as error:
        return str(error) if str(path) in str(error) else f"{path}: {error}"


def _as_channels(images: Iterable[Pixels | None], channels: int | None) -> list[Pixels]:
    present = [image for image in images if image is not None]
    wanted = channels or (3 if any(image.shape[2] >= 3 for image in present) else 1)
    return [to_channels(image, wanted) for image in present]


def _raise_for(problems: Sequence[str], folder: Path) -> None:
    if problems:
        shown = "\n  ".join(map(printable, problems[:_MAX_LISTED]))
        more = f"\n  and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
        raise DataError(f"{len(problems)} images of {folder} cannot be used; repair or remove them:\n  {shown}{more}")


def _digest(folder: Path, paths: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(str(path.relative_to(folder)).encode("utf-8", "surrogateescape"))
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _size(image: Pixels) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
