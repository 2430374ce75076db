"""Sizes of .npy and .npz files, checked before numpy allocates what their headers promise."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import IO

from numpy.lib import format as npy

MEMORY_SHARE = 0.5
"""Of the machine's memory, for the arrays of a compressed file; using them takes as much again."""


def check_array_file(path: Path) -> None:
    """Check that an array file holds what its headers promise, and that its arrays fit into memory.

    Raises:
        ValueError: It does not, they do not, or a header is damaged.
        OSError: The file cannot be read.
        zipfile.BadZipFile: An .npz file is damaged.
    """
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            _check_array(file, os.fstat(file.fileno()).st_size, path.name)
            return
        with zipfile.ZipFile(file) as archive:
            total = 0
            for member in archive.infolist():
                with archive.open(member) as part:
                    total += _check_array(part, member.file_size, member.filename)
    limit = MEMORY_SHARE * _memory_bytes()
    if total > limit:
        raise ValueError(
            f"its arrays take {total / 2**30:.1f} GiB, more than half of this machine's memory; give fewer images"
        )


def _check_array(file: IO[bytes], size: int, name: str) -> int:
    """Return the bytes of an array of which `file` holds `size` bytes with its header."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    promised = math.prod(shape) * dtype.itemsize
    if promised > size - file.tell() and not dtype.hasobject:
        raise ValueError(f"the header of {name} promises {shape} {dtype}, which {size} bytes cannot hold; the file is damaged")
    return int(promised)


def _memory_bytes() -> float:
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):  # Windows has no sysconf
        return math.inf
