"""libvips, the image library; the only module that imports pyvips.

It keeps 16 bits per channel, writes PNG fast, and has wheels for x86-64 and aarch64. Each format's own loader is called, so
that no other reader of libvips sees a file. libvips collects the errors of all threads in one text, so its lines may concern
other files: the loader or saver that a line starts with decides.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from itertools import chain
from typing import Any

import numpy as np

from ..errors import ImageError, MissingDependencyError
from .headers import Read
from .pnm import Pixels
from .webp import LEAST_DELAY_MS

_COMPLETING = threading.Lock()
_KINDS = ("png", "jpeg", "tiff", "webp", "heif", "gif")
_LOADERS = {"avif": "heif"}
"""Names of loaders that are not those of the kind."""
FORMATS = {
    **{"uint8": "uchar", "uint16": "ushort", "int8": "char", "int16": "short", "int32": "int", "uint32": "uint"},
    "float32": "float",
}
"""Types of pixels by the name of the dtype."""
_SYSTEM_ERROR = "system error: "
_VAGUE = ("load error", "unable to open source for input")


FORKED = "libvips does not work in a process that was forked after an image was read or written"
FORKED_REMEDY = "Start processes with the method spawn or forkserver, or read and write images in the children only"


class _Use:
    """What this process has done with libvips, whose threads do not exist in a forked child, which would wait for them."""

    started = False
    """Whether an image has been read or written, which starts the threads."""
    lost = False
    """Whether that was in the process that this one was forked from."""
    lock = threading.Condition()
    threads = 0
    """Which are reading or writing an image now."""
    forking = False


LONGEST_WAIT_S = 5.0
"""How long a fork waits at most for other threads to finish their images."""


@contextmanager
def use_vips() -> Iterator[Any]:
    """Give pyvips for reading or writing an image.

    A fork waits until no thread is within: the child would else be given objects of those threads, whose locks are held for
    ever, and hang when it ends.

    Raises:
        ImageError: This process was forked from one that had read or written an image.
        MissingDependencyError: pyvips or libvips is not installed.
    """
    if _Use.lost:
        raise ImageError(f"{FORKED}, which it would wait for without end. {FORKED_REMEDY}")
    with _Use.lock:
        _Use.lock.wait_for(lambda: not _Use.forking)
        _Use.started = True
        _Use.threads += 1
    try:
        yield load_vips()  # not loaded while a fork goes on, either: its locks would be held for ever
    finally:
        with _Use.lock:
            _Use.threads -= 1
            _Use.lock.notify_all()


def is_lost() -> bool:
    """Whether libvips cannot be used, as this process was forked from one that had read or written an image."""
    return _Use.lost


@contextmanager
def no_fork() -> Iterator[None]:
    """Have forks wait while a thread imports a module: a child would wait for that thread for ever."""
    with _Use.lock:
        yield


def _before_fork() -> None:
    _Use.lock.acquire()
    _Use.forking = True
    _Use.lock.wait_for(lambda: _Use.threads == 0, LONGEST_WAIT_S)


def _after_fork_in_parent() -> None:
    _Use.forking = False
    _Use.lock.notify_all()
    _Use.lock.release()


def _after_fork_in_child() -> None:
    _Use.lost = _Use.started
    _Use.lock, _Use.threads, _Use.forking = threading.Condition(), 0, False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def load_vips() -> Any:
    """Return pyvips, not for reading or writing an image.

    Raises:
        MissingDependencyError: pyvips or libvips is not installed.
    """
    try:
        import pyvips
    except (ImportError, OSError) as error:  # OSError: the library is missing
        raise MissingDependencyError(
            f"reading and writing image files needs pyvips with libvips ({error}). "
            "Install it with: pip install 'pyvips[binary]'"
        ) from error
    _complete_types(pyvips.ffi)
    return pyvips


@cache
def _complete_types(ffi: Any) -> None:
    """Have cffi complete its types before threads use them: two that first meet one at once abort the process.

    Source:
        https://github.com/python-cffi/cffi/issues/271
    """
    with _COMPLETING:
        for name in chain(*ffi.list_types()):
            with suppress(ffi.error):  # a type that only pointers know
                ffi.sizeof(name)


def disable_cache() -> None:
    """Turn off libvips' cache in this process, for commands that read each file once."""
    if not _Use.lost:  # an image process has no cache
        load_vips().cache_set_max(0)


def codec_versions() -> str:
    """Return the versions of libvips and pyvips as text.

    Raises:
        MissingDependencyError: pyvips is not installed.
    """
    vips = load_vips()
    return f"libvips {'.'.join(str(vips.version(part)) for part in range(3))} through pyvips {vips.__version__}"


def open_source(vips: Any, kind: str, source: bytes | int, read: Read) -> Any:
    """Return the bytes of an image for libvips, which never maps them: a mapped file that shrinks ends the process (SIGBUS).

    libvips maps a file given by its descriptor for most formats, which are read first; PNG and TIFF it only reads. Keep the
    result until the pixels are decoded: it owns the bytes.

    Args:
        vips: From `load_vips`.
        kind: `png`, `jpeg`, `tiff`, `webp`, `avif` or `gif`.
        source: The content, or the descriptor of a regular file.
        read: Reads it.
    """
    if not isinstance(source, int):
        return vips.Source.new_from_memory(source)
    if kind in ("png", "tiff"):
        return vips.Source.new_from_descriptor(source)
    size = os.fstat(source).st_size
    if kind == "webp":  # without what follows the end that its header announces
        announced = 8 + int.from_bytes(read(4, 4), "little")
        size = min(size, announced + announced % 2)
    return vips.Source.new_from_memory(read(0, size))


def open_image(vips: Any, kind: str, source: Any, page: int | None = None) -> Any:
    """Open an image without decoding it, with one page, or with all: None for a TIFF whose pages differ."""
    which = {"n": -1} if page is None else {"page": page}
    pages = which if kind in ("tiff", "webp") else {}
    try:
        return getattr(vips.Image, f"{_LOADERS.get(kind, kind)}load_source")(
            source, fail_on="error", access="sequential", **pages
        )
    except vips.Error as error:
        if kind == "tiff" and page is None and "differs" in str(error):
            return None
        raise


def upright(vips: Any, image: Any, pages: int, orientation: int) -> Any:
    """Apply the orientation, 1 to 8, to each page; libvips requires the same orientation for all pages."""
    if orientation <= 1:
        return image
    image = image.copy_memory()  # rotation needs random access to the rows
    image.set_type(vips.GValue.gint_type, "orientation", orientation)
    height = image.height // pages
    turned = [image.crop(0, number * height, image.width, height).autorot() for number in range(pages)]
    return vips.Image.arrayjoin(turned, across=1)


def to_vips(vips: Any, pixels: Pixels, metadata: Mapping[str, Any], pages: int = 1) -> Any:
    """Return pixels as a libvips image with stacked pages, and with the times of frames."""
    height, width = pixels.shape[:2]
    bands = pixels.shape[2] if pixels.ndim == 3 else 1
    flat = np.ascontiguousarray(pixels).data
    image = vips.Image.new_from_memory(flat, width, height, bands, FORMATS[pixels.dtype.name])
    gray, color = ("grey16", "rgb16") if pixels.dtype == np.uint16 else ("b-w", "srgb")
    image = image.copy(interpretation=gray if bands < 3 else color)
    if pages > 1:
        image.set_type(vips.GValue.gint_type, "page-height", height // pages)
        if "delay" in metadata:
            image.set_type(vips.GValue.array_int_type, "delay", [time + LEAST_DELAY_MS for time in metadata["delay"]])
        if "loop" in metadata:
            image.set_type(vips.GValue.gint_type, "loop", metadata["loop"])
    return image


class Spliced:
    """A target for libvips that changes the head of a file on its way.

    Args:
        vips: pyvips.
        sink: Takes the bytes of the file.
        splice: Returns what to write for a head; None to see more of it first.
    """

    def __init__(self, vips: Any, sink: Callable[[Any], object], splice: Callable[[bytes], bytes | None]) -> None:
        self.target = vips.TargetCustom()
        self.error: BaseException | None = None
        self._sink, self._splice, self._head = sink, splice, b""
        self._is_whole = False
        self.target.on_write(self._write)

    def _write(self, part: Any) -> int:
        try:
            if self._is_whole:
                self._sink(part)
            else:
                self._head += bytes(part)
                spliced = self._splice(self._head)
                if spliced is not None:
                    self._is_whole = True
                    self._sink(spliced)
        except BaseException as error:  # it cannot pass through libvips
            self.error = error
            return -1
        return len(part)


def reading_reason(text: str, kind: str) -> str | None:
    """Return from libvips' text why a file of a kind (`png`, `jpeg`, `tiff`, `webp`, `avif`, `gif`) cannot be read.

    None if another thread has taken the lines about it: the same call again gives them.
    """
    kind = _LOADERS.get(kind, kind)
    lines = [line for line in _lines(text) if not line.startswith(_SYSTEM_ERROR)]  # of files that other threads write
    own = [line for line in lines if kind in _place(line)]
    unattributed = [line for line in lines if not any(name in _place(line) for name in _KINDS)]
    clear = [line for line in own if not line.endswith(_VAGUE)]
    vague = own if kind != "png" else []  # of a damaged PNG `png_damage` knows more
    return next(reversed(clear or vague or unattributed), None)


def writing_reason(text: str, kind: str) -> str | None:
    """Return from libvips' text why a file of a kind cannot be written; None as for `reading_reason`."""
    for line in _lines(text):
        if line.startswith(_SYSTEM_ERROR):  # e.g. a full disk; later lines are less specific
            return line.removeprefix(_SYSTEM_ERROR)
    return reading_reason(text, kind)


def _lines(text: str) -> list[str]:
    """Return the lines that name their origin, without the failed call."""
    return [line.strip() for line in text.splitlines() if ": " in line]


def _place(line: str) -> str:
    return line.partition(":")[0].lower()
