"""The model files of a denoiser: where they are, and whether they have changed since."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import InputError, ModelError
from ..models import DEFAULT_MODELS, find_models
from ..system.bounds import shown

Stamp = tuple[int, int, int, int]


def sources_of(model: str | os.PathLike[str] | bytes | Mapping[int, bytes | Path]) -> dict[int, bytes | Path]:
    """Return the models by the keys of `DEFAULT_MODELS`.

    Raises:
        InputError: A mapping is not one of models by these keys.
        ModelError: There is no such model.
    """
    if isinstance(model, Mapping):
        if {*model} != {*DEFAULT_MODELS} or not all(isinstance(source, bytes | Path) for source in model.values()):
            raise InputError(f"a mapping of models must be that of a PortableDenoiser, not {shown(model)}.")
        return {**model}
    if isinstance(model, bytes | bytearray | memoryview):
        return dict.fromkeys(DEFAULT_MODELS, bytes(model))
    return {**find_models(model)}


def stamps_of(sources: Iterable[bytes | Path]) -> dict[Path, Stamp | None]:
    """Return what tells whether files have changed: device, inode, size and modification time; None for those not there."""
    return {path: _stamp_of(path) for path in sources if isinstance(path, Path)}


def check_unchanged(stamps: Mapping[Path, Stamp | None]) -> None:
    """Check that files are those of `stamps`, or gone.

    Raises:
        ModelError: One has changed: it would be recorded for what another has computed.
    """
    for path, stamp in stamps.items():
        if _stamp_of(path) not in (stamp, None):
            raise ModelError(f"the model {path} has changed since it was opened. Open it again, or restart the program.")


def _stamp_of(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
