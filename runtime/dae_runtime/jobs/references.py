"""Which clean image belongs to which noisy one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..images import find_images


def find_references(sources: Sequence[Path], base: Path, root: Path) -> list[Path | None]:
    """Return the clean image of each source, or None for one that has none.

    Args:
        sources: Image files within `base`; one at least.
        base: The folder that their relative paths start from.
        root: Folder with clean images of the same relative path (any image extension), or, for one source, a file.

    Raises:
        InputError: `root` is no folder, or holds no image for any of the sources.
        ImageError: A folder cannot be read.
    """
    if root.is_file() and len(sources) == 1:
        return [root]
    if not root.is_dir():
        raise InputError(f"the reference {root} is not a folder of clean images.")
    folders: dict[Path, dict[str, Path]] = {}
    found: list[Path | None] = []
    for source in sources:
        folder = root / source.relative_to(base).parent
        if folder not in folders:
            images = find_images(folder) if folder.is_dir() else []
            # By whole name first, then by stem: a clean a.png serves a noisy a.jpg.
            folders[folder] = {path.stem: path for path in images} | {path.name: path for path in images}
        found.append(folders[folder].get(source.name, folders[folder].get(source.stem)))
    if not any(found):
        raise InputError(f"the reference {root} holds no image of the name of an input, as {sources[0].name}.")
    return found
