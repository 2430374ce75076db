"""Sources of training images, by name."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dae_runtime.system.paths import is_file, is_folder

from ..errors import DataError
from ..settings.config import SYNTHETIC, DataSettings
from . import array_files, digits, folders, synthetic
from .groups import group_numbers, read_groups
from .image_set import Dataset, ImageSet

ARRAY_SUFFIXES = (".npz", ".npy")


def check_source(settings: DataSettings) -> None:
    """Check that the source exists, without reading it.

    Raises:
        DataError: It does not, or clean images or groups are given for a source that is no folder, or the groups are damaged.
    """
    source = settings.source
    if settings.validation_groups is not None:
        if not is_folder(source):
            raise DataError(f"groups of images ({settings.validation_groups}) are for a folder of images, not for {source}.")
        read_groups(Path(settings.validation_groups))
    if settings.target is not None:
        for role, path in (("noisy", source), ("clean", settings.target)):
            if not is_folder(path):
                raise DataError(f"the folder of {role} images, {path}, is not a folder. Pairs need a folder each.")
    elif not (source == SYNTHETIC or source in digits.NAMES or _is_array_file(source) or is_folder(source)):
        raise DataError(
            f"no training data at {source!r}: expected {SYNTHETIC}, {', '.join(digits.NAMES)}, a folder of images, "
            "or an .npz or .npy file that exists."
        )


def load_dataset(settings: DataSettings, channels: int | None, seed: int) -> Dataset:
    """Read or generate the images and hold some out for validation.

    Args:
        settings: The data settings.
        channels: 1 or 3; None: those of the images (3 if any has color).
        seed: Determines the validation split and synthetic images.

    Raises:
        DataError: The images are missing or unreadable, or do not match `settings.sha256`.
    """
    check_source(settings)
    images, test, sha256 = _read(settings, channels, seed)
    groups = None
    if settings.validation_groups is not None:
        path = Path(settings.validation_groups)
        groups = group_numbers(path, images.names or (), settings.limit is None)
        sha256 = hashlib.sha256(sha256.encode() + path.read_bytes()).hexdigest()
    if settings.sha256 not in (None, sha256):
        raise DataError(
            f"the images of {settings.source} differ from those of the run: expected SHA-256 "
            f"{settings.sha256}, found {sha256}. Restore the images, or start a new run."
        )
    train, validation = images.split(settings.validation_fraction, seed, groups)
    return Dataset(train, validation, test, sha256)


def _read(settings: DataSettings, channels: int | None, seed: int) -> tuple[ImageSet, ImageSet | None, str]:
    if settings.target is not None:
        return folders.read_pairs(Path(settings.source), Path(settings.target), channels, settings.limit)
    if settings.source == SYNTHETIC:
        return synthetic.read(settings.limit, settings.patch_px, channels or 1, seed)
    if settings.source in digits.NAMES:
        return digits.read(settings.source, channels, settings.limit)
    if _is_array_file(settings.source):
        return array_files.read(Path(settings.source), channels, settings.limit)
    return folders.read_folder(Path(settings.source), channels, settings.limit)


def _is_array_file(source: str) -> bool:
    return Path(source).suffix.lower() in ARRAY_SUFFIXES and is_file(source)
