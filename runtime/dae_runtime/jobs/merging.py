"""The manifests that the shards of a run keep beside that of the whole run, and their merging."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from ..system.locks import lock
from ..system.messages import counted
from ..system.paths import open_regular
from .entry import read_entry
from .locations import ObjectPath
from .manifest import LONGEST_LINE, MANIFEST_NAME, ManifestError, append_lines, in_use, open_locked
from .parts import join_parts, parts_of_shards
from .shards import Shard

_NAME = re.compile(r"([0-9]{1,7})-of-([0-9]{1,7})\.jsonl", re.ASCII)


def shard_manifest(manifest: Path, shard: Shard) -> Path:
    """Return the path of a shard's own manifest, by that of the whole run."""
    if isinstance(manifest, ObjectPath):
        return manifest.parent / shard.label
    return shards_folder(manifest) / f"{shard.label}.jsonl"


def shards_folder(manifest: Path) -> Path:
    """Return the folder of the manifests of shards: `dae-manifest.shards` beside `dae-manifest.jsonl`."""
    return manifest.with_suffix(".shards")


def manifests_of_shards(manifest: Path) -> Mapping[Path, Shard]:
    """Return the manifests of shards that there are, by that of the whole run; ordered.

    Raises:
        InputError: Their folder cannot be read.
    """
    folder = shards_folder(manifest)
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names, not paths
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InputError(f"the manifests in {folder} cannot be read: {error.strerror or error}.") from error
    found = {folder / name: Shard(int(match[1]), int(match[2])) for name in names if (match := _NAME.fullmatch(name))}
    return dict(sorted(found.items(), key=lambda item: (item[1].count, item[1].index)))


def check_sharing(manifest: Path, shard: Shard | None) -> None:
    """Check that nobody shares out a run in another way: all processes of a run have the same number of shards.

    Stores have no locks: there, a run in one process is not noticed.

    Args:
        manifest: Of the whole run.
        shard: Of this process; None for a run in one process.

    Raises:
        ManifestError: There are manifests of another number of shards, or a run in one process is writing the manifest.
        InputError, ImageError: They cannot be read.
    """
    if isinstance(manifest, ObjectPath):
        shards = [other for _, other in parts_of_shards(manifest)]
        folder: Path = manifest.parent
        where: Path = folder.parent
    else:
        shards = [*manifests_of_shards(manifest).values()]
        folder, where = shards_folder(manifest), manifest.parent if manifest.name == MANIFEST_NAME else manifest
    if others := {other.count for other in shards} - ({shard.count} if shard else set()):
        raise ManifestError(
            f"{folder} has the manifests of a run in {counted(max(others), 'shard')}. Continue that run, or, "
            f"once its processes have ended, merge them: dae-run --merge-manifests {where}"
        )
    if shard is not None and not isinstance(manifest, ObjectPath):
        with contextlib.suppress(FileNotFoundError, OSError), open_regular(manifest) as file:
            if not lock(file.fileno(), alone=False):
                raise in_use(manifest)


def join_manifests(manifest: Path) -> int:
    """Append the manifests of shards to that of the whole run and delete them; return their number.

    A run that was killed meanwhile leaves each line in one of both, or in both: the same call again completes it.

    Args:
        manifest: Of the whole run; created if missing.

    Raises:
        ManifestError: A shard is still running, or a manifest cannot be read or written.
        InputError: The folder of manifests cannot be read.
    """
    if isinstance(manifest, ObjectPath):
        return join_parts(manifest)
    paths = manifests_of_shards(manifest)
    with contextlib.ExitStack() as stack:
        files = {path: stack.enter_context(os.fdopen(open_locked(path), "rb")) for path in paths}
        for path, file in files.items():
            append_lines(manifest, (line for line in iter(lambda: file.readline(LONGEST_LINE), b"") if read_entry(line)))  # noqa: B023
            path.unlink()
    with contextlib.suppress(OSError):
        shards_folder(manifest).rmdir()
    return len(paths)
