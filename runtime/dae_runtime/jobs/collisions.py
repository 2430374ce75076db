"""Checks that no output of a run is an input, a reference or another output, or lies among the inputs, by any name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

from ..errors import ImageError, InputError
from ..images import image_format
from ..system.paths import folders_around, identities_of, identity_of, is_same
from .table import Table, distinct

PathLike = str | os.PathLike[str]
Names = tuple[str, str, str | None]
"""Of the source, the output and the reference of a file."""
_FOLDERS = 1024
"""Resolved folders that are remembered: inputs come sorted, so that few are met again."""


def check_folders(base: Path, output: PathLike, any_depth: bool) -> None:
    """Check that an output folder is not the input folder, nor, if its inputs lie at any depth, within it.

    Raises:
        InputError: It is.
    """
    inside, *around = folders_around(output)
    outside = Path(os.path.realpath(base))
    if inside == outside or is_same(inside, outside):
        refuse_inside(output, "is the input folder")
    if any_depth and any(folder == outside or is_same(folder, outside) for folder in around):
        refuse_inside(output, f"lies inside the input folder {base}")


def check_outside(sources: Iterable[str], output: PathLike) -> None:
    """Check that an output is no folder of an input, also by another name: of a bind mount or by folded case.

    Raises:
        InputError: It is.
    """
    around = identities_of(folders_around(output))
    if any(identity_of(folder or os.curdir) in around for folder in distinct(map(os.path.dirname, sources))):
        refuse_inside(output, "is or lies inside a folder of inputs, by another name")


def refuse_inside(output: PathLike, where: str) -> NoReturn:
    """Raise InputError about an output among the inputs."""
    raise InputError(f"the output {output} {where}; a second run would denoise its own results. Give a folder outside it.")


def check_mapping(files: Callable[[], Iterable[Names]]) -> None:
    """Check that each output is an image, and nothing else of the run.

    Args:
        files: Returns all files, the same each time.

    Raises:
        InputError: It is not.
    """
    outputs, existing = Table(), Table()  # files by the resolved name of the output, and by the identity of what is there
    real = lru_cache(_FOLDERS)(os.path.realpath)
    for source, destination, _ in files():
        try:
            image_format(destination)
        except ImageError as error:
            raise InputError(f"{source} has no output: {error}.") from error
        other, _ = outputs.setdefault(_resolved(destination, real), (source, destination))
        if other != source:
            raise InputError(f"{other} and {source} have the same output {destination}. Rename one, or leave out --format.")
        if (identity := identity_of(destination)) is not None:
            existing[str(identity)] = source, destination
    any_exists = len(existing) > 0
    for source, _, reference in files():
        for path, what, those in ((source, "an input", "Inputs"), (reference, "a reference", "References")):
            hit = None if path is None else outputs.get(_resolved(path, real))
            if hit is None and path is not None and any_exists:
                hit = existing.get(str(identity_of(path)))
            if hit is not None:
                raise InputError(f"the output {hit[1]} is also {what}. {those} are never changed; give another output.")


def _resolved(path: str, real: Callable[[str], str]) -> str:
    """Return a path without links; `real` resolves folders."""
    if os.path.islink(path):  # noqa: PTH114 - many names: os.path works on them as they are
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    return os.path.join(real(folder), name)  # noqa: PTH118
