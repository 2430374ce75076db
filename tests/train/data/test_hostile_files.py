"""Array files and trained networks that promise too much, or hold code: refused, nothing allocated, nothing run."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dae_export.errors import CalibrationError
from dae_export.measure.samples import _read_arrays
from dae_runtime.pixels.array_files import check_array_file
from dae_train.data.array_files import read_arrays
from dae_train.errors import ConfigError, DataError
from dae_train.settings.trained_file import channels_of


def header_of(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    """Return the header of an .npy file."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def npz_of(path: Path, content: bytes, name: str = "images.npy") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


@given(shape=st.lists(st.integers(0, 2**20), max_size=4).map(tuple), held=st.integers(0, 4096))
@example((2**16, 2**16), 4)
@example((2**40,), 4)
def test_no_file_promises_more_than_it_holds(tmp_path_factory: Any, shape: tuple[int, ...], held: int) -> None:
    folder, content = tmp_path_factory.mktemp("arrays"), header_of(shape) + bytes(held)
    (folder / "a.npy").write_bytes(content)
    for path in (folder / "a.npy", npz_of(folder / "a.npz", content)):
        if 4 * int(np.prod(shape, dtype=object)) <= held:
            check_array_file(path)
            continue
        with pytest.raises(ValueError, match="promises"):
            check_array_file(path)
        with pytest.raises(DataError):
            read_arrays(path)
        with pytest.raises(CalibrationError):
            _read_arrays(path)


class Bomb:
    """Writes a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    np.savez(tmp_path / "a.npz", images=np.array([Bomb(trace)], object), noisy=np.array([Bomb(trace)], object))
    np.save(tmp_path / "a.npy", np.array([Bomb(trace)], object))
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Bomb(trace)))
    for name in ("a.npz", "a.npy", "b.npy"):
        with pytest.raises(DataError):
            read_arrays(tmp_path / name)
        with pytest.raises(CalibrationError):
            _read_arrays(tmp_path / name)
    assert not trace.exists()


def test_a_description_of_any_size_is_not_read(tmp_path: Path) -> None:
    path = npz_of(tmp_path / "a.keras", json.dumps({"config": "x" * 2**25}).encode(), "config.json")
    assert path.stat().st_size < 2**20
    with pytest.raises(ConfigError, match=r"has \d+ bytes"):
        channels_of(str(path), "--init")
