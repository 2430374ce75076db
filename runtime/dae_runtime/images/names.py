"""Names of image files: which kind a name says, and the images of a folder."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ..errors import ImageError
from ..system.messages import counted, listed

logger = logging.getLogger(__name__)

FORMATS: Mapping[str, str] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".webp": "webp",
    ".avif": "avif",
    ".bmp": "bmp",
    ".pgm": "pnm",
    ".ppm": "pnm",
}
"""Kinds of image file by suffix, in lower case."""
IMAGE_SUFFIXES = tuple(FORMATS)
RAW_SUFFIXES = tuple(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .rw2 .sr2 .srw .x3f".split()
)
"""Camera raw, which is read where rawpy is installed."""
_HEIC_SUFFIXES = (".heic", ".heif", ".hif")
_NEEDS = {**dict.fromkeys(RAW_SUFFIXES, "rawpy"), **dict.fromkeys(_HEIC_SUFFIXES, "pillow_heif"), ".gif": None}
"""Suffixes of formats that are only read, and the package that each needs."""
_WRITTEN_AS = {suffix: ".tif" if suffix in RAW_SUFFIXES else ".png" for suffix in _NEEDS}
"""Suffixes of their outputs."""
_WRITTEN_KINDS = {"raw": "tiff", "gif": "png", "heic": "png"}
_REMEDY = "install the extra `{}` (pip install '.[{}]', in the folder that this package was installed from)"
RAW_REMEDY, HEIC_REMEDY = (_REMEDY.format(extra, extra) for extra in ("raw", "heif"))
"""How to have camera raw and HEIC read."""
_ADVICE: Mapping[str, tuple[str, ...]] = {
    f"camera raw: {RAW_REMEDY}, or develop them to TIFF": RAW_SUFFIXES,
    f"{HEIC_REMEDY}, or convert them": _HEIC_SUFFIXES,
    "convert them to TIFF or PNG first": tuple(".exr .jp2 .jxl .psd .svg .xcf".split()),
}
"""What to do with images that are not read."""
OTHER_SUFFIXES = (*(suffix for suffixes in _ADVICE.values() for suffix in suffixes), ".gif")
"""Images that are not written; the log names those that are not read, either."""
_SILENT = ("dae-manifest.jsonl", "desktop.ini", "Thumbs.db")
"""Files that nobody expects to be read."""
_SILENT_FOLDER = "dae-manifest.shards"


def image_format(path: str | os.PathLike[str]) -> str:
    """Return the image kind of a path's suffix.

    Raises:
        ImageError: The suffix is not one of IMAGE_SUFFIXES.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ImageError(f"the suffix {suffix!r} is not a supported image format; use one of {', '.join(FORMATS)}")
    return FORMATS[suffix]


def kind_to_write(path: str | os.PathLike[str]) -> str:
    """Return the kind that `codec.encode` takes for a path: as `image_format`, but with `pgm` and `ppm` distinguished.

    Raises:
        ImageError: The suffix is not one of IMAGE_SUFFIXES.
    """
    kind = image_format(path)
    return Path(path).suffix.lower().removeprefix(".") if kind == "pnm" else kind


def is_image_name(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path has the suffix of an image that is read, in upper or lower case, and is not hidden."""
    name = os.path.basename(path)  # noqa: PTH119 - of very many: text takes a fifth of the time
    return not name.startswith(".") and can_read(split_name(name)[1])


def split_name(name: str) -> tuple[str, str]:
    """Return stem and suffix of a file name, as `PurePath` has them."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem and suffix else (name, "")


def can_read(suffix: str) -> bool:
    """Tell whether files of a suffix are read: some need a package, which is not imported."""
    suffix = suffix.lower()
    return suffix in FORMATS or (suffix in _NEEDS and _is_installed(_NEEDS[suffix]))


@cache
def _is_installed(package: str | None) -> bool:
    return package is None or find_spec(package) is not None


def written_suffix(suffix: str) -> str:
    """Return the suffix of the output of an image by its own: the same, or that of a format which is written."""
    return _WRITTEN_AS.get(suffix.lower(), suffix)


def written_kind(kind: str) -> str:
    """Return the kind that an image of a kind is written as, unless another is asked for."""
    return _WRITTEN_KINDS.get(kind, kind)


def find_images(folder: str | os.PathLike[str], recursive: bool = False, *, warn: bool = True) -> list[Path]:
    """Return the sorted image files of a folder, recognized by suffix.

    Skips other files, hidden files and folders named like an image; keeps links that lead to no folder, and sub-folders that
    cannot be read, so that reading reports them. Does not follow links to folders. Logs what is skipped, unless `warn` is
    false.

    Raises:
        ImageError: The folder cannot be read.
    """
    return [Path(name) for name in sorted(walk_images(folder, recursive, warn=warn), key=path_order)]


def walk_images(folder: str | os.PathLike[str], recursive: bool = False, *, warn: bool = True) -> Iterator[str]:
    """Yield what `find_images` returns as text, as it is found: there may be very many.

    Raises:
        ImageError: The folder cannot be read.
    """
    passed = PassedOver(folder)
    try:
        for name, is_entry in _find(os.fspath(Path(folder)), recursive, passed):
            if not is_entry or is_image_name(name):
                yield name
            else:
                passed.add(name)
    except OSError as error:
        raise ImageError(f"the folder {os.fspath(folder)} cannot be read: {error.strerror or error}.") from error
    if warn:
        passed.log()


def path_order(name: str) -> str:
    """Return what names are sorted by, so that they come as paths do: what lies in a folder before its neighbors."""
    return name.replace(os.sep, "\0")


class PassedOver:
    """Counts the files in a folder that are passed over, by kind."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = os.fspath(folder)
        self._kinds: dict[str, Counter[str]] = {}
        self._shown: dict[str, str] = {}
        self.linked_folders = 0
        """Links to folders: what they hold may be elsewhere in the folder, or hold it."""

    def add(self, name: str) -> None:
        """Count a file, unless nobody expects that it is read."""
        path = Path(name)
        if path.name not in _SILENT and path.parent.name != _SILENT_FOLDER:
            advice = next((text for text, suffixes in _ADVICE.items() if path.suffix.lower() in suffixes), "")
            shown = self._shown.setdefault(path.suffix.lower(), path.suffix)
            self._kinds.setdefault(advice, Counter())[shown] += 1

    def log(self) -> None:
        """Log the kinds, and how to have them read: as a warning if images are among them."""
        kinds = self._kinds
        parts = [_counted_kinds(kinds[advice]) + f" ({advice})" for advice in _ADVICE if advice in kinds]
        parts += [_counted_kinds(kinds[""])] if "" in kinds else []
        parts += [counted(self.linked_folders, "linked folder")] if self.linked_folders else []
        if parts:
            level = logging.WARNING if kinds.keys() - {""} or self.linked_folders else logging.INFO
            logger.log(level, "%s: passed over: %s", self._folder, ", ".join(parts))


def _counted_kinds(kinds: Counter[str]) -> str:
    """Return `12 .CR2, 3 .NEF`."""
    ordered = sorted(kinds.items(), key=lambda kind: -kind[1])
    return listed([f"{count} {suffix or 'without a suffix'}" for suffix, count in ordered])


def _find(folder: str, recursive: bool, passed: PassedOver) -> Iterator[tuple[str, bool]]:
    """Yield files with true, and sub-folders that cannot be read with false; count links to folders."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = os.fspath(Path(entry.path))
            if _is_folder(entry):
                if recursive and entry.is_symlink():
                    passed.linked_folders += 1
                elif recursive:
                    try:
                        yield from _find(name, True, passed)
                    except OSError:
                        yield name, False
            elif entry.is_symlink() or entry.is_file():
                yield name, True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder without search permission
        return False
