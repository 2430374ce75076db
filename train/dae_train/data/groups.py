"""Groups of related images, such as several scans of a page, that validation must not split.

A groups file is a JSON list of lists of names: `[["page1-a", "page1-b"], ["page2-a", "page2-b"]]`. A name is the path of an
image relative to its folder, with or without the suffix; integers count as names. An image in no list is a group of its own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from dae_runtime.system.paths import read_regular, reason_of

from ..errors import DataError

_LAYOUT = 'a list of lists of file names, as [["page1-a", "page1-b"], ["page2-a"]]'
_MAX_LISTED = 10


def read_groups(path: Path) -> list[list[str]]:
    """Read a groups file.

    Raises:
        DataError: It cannot be read, has another layout, or names an image twice.
    """
    try:
        document = json.loads(read_regular(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"the groups of {path} cannot be read: {reason_of(error)}. Expected JSON, {_LAYOUT}.") from error
    if not (isinstance(document, list) and all(isinstance(group, list) and all(map(_is_name, group)) for group in document)):
        raise DataError(f"{path}: expected {_LAYOUT}.")
    groups = [[str(name) for name in group] for group in document]
    if repeated := [name for name, count in Counter(name for group in groups for name in group).items() if count > 1]:
        raise DataError(f"{path} names {_listed(repeated)} more than once. An image belongs to one group.")
    return groups


def group_numbers(path: Path, names: Sequence[str], complete: bool) -> npt.NDArray[np.int64]:
    """Return the group number of each image, (N,).

    Args:
        path: Groups file.
        names: Relative paths of the images, with `/`.
        complete: Whether these are all images of their folder, so that the file must name no others.

    Raises:
        DataError: As `read_groups`, or the file names missing images, or one image by two names.
    """
    groups = read_groups(path)
    numbers = {name: number for number, group in enumerate(groups) for name in group}
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    unknown = sorted(set(numbers) - set(names) - set(stems))
    if unknown and complete:
        raise DataError(f"{path} names {_listed(unknown)}, which the data do not have. Correct the names or remove them.")
    found = []
    for index, (name, stem) in enumerate(zip(names, stems, strict=True)):
        if name != stem and name in numbers and stem in numbers:
            raise DataError(f"{path} names {name} with and without its suffix. Remove one of them.")
        found.append(numbers.get(name, numbers.get(stem, len(groups) + index)))
    return np.array(found, np.int64)


def _is_name(name: object) -> bool:
    return isinstance(name, str | int) and not isinstance(name, bool)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
