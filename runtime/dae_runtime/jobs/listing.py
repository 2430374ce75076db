"""A list of files, such as an inventory: their names relative to the input folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import InputError
from ..system.paths import check_reachable, open_regular
from ..system.standard_streams import binary_input

STANDARD = "-"
"""Standard input."""
_PART_BYTES = 2**16
_LONGEST_NAME = 2**14
"""Bytes; those of file systems and stores are at most 4096."""


def listed_names(files_from: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the names of a list, relative and with / between folders, in its order; in constant memory.

    Args:
        files_from: A file, or `-` for standard input: a name a line, or names that end with zero bytes, as `find -print0`
            writes them. Empty lines are ignored.

    Raises:
        InputError: It cannot be read, or a name is absolute, too long, or leads out of the folder.
        ImageError: It cannot be reached.
    """
    for number, name in enumerate(_items(files_from), 1):
        if not name:
            continue
        text = os.fsdecode(name)
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if not parts or text.startswith("/") or ".." in parts or "\0" in text:
            raise InputError(
                f"name {number} of the list {os.fspath(files_from)} is {text!r}. Names are relative to the input folder, and "
                "lie in it."
            )
        yield "/".join(parts)


def _items(files_from: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yield the items of a list: its lines without their ends, or, if its first part has a zero byte, what these separate."""
    with _open(files_from) as file:
        rest = part = _read(file, files_from).removeprefix(b"\xef\xbb\xbf")
        end = b"\0" if b"\0" in part else b"\n"
        while part:
            *items, rest = rest.split(end)
            yield from (item.removesuffix(b"\r") if end == b"\n" else item for item in items)
            if len(rest) > _LONGEST_NAME:
                raise InputError(
                    f"the list {os.fspath(files_from)} has a name of more than {_LONGEST_NAME} bytes. Give a list of names."
                )
            part = _read(file, files_from)
            rest += part
        yield rest.removesuffix(b"\r")


def _open(files_from: str | os.PathLike[str]) -> contextlib.AbstractContextManager[BinaryIO]:
    if os.fspath(files_from) == STANDARD:
        return contextlib.nullcontext(binary_input())
    check_reachable(files_from, "the list")
    try:
        return open_regular(files_from)
    except OSError as error:
        raise _unreadable(files_from, error) from error


def _read(file: BinaryIO, files_from: str | os.PathLike[str]) -> bytes:
    try:
        return file.read(_PART_BYTES)
    except OSError as error:
        raise _unreadable(files_from, error) from error


def _unreadable(files_from: str | os.PathLike[str], error: OSError) -> InputError:
    return InputError(f"the list {os.fspath(files_from)} cannot be read: {error.strerror or error}.")
