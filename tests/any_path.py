"""Paths of every kind, most of them wrong for most uses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from builders import make_model, random_pixels
from dae_runtime.images import Image, write_image


def sound(folder: Path) -> None:
    """Make sound files: images, models, arrays, and a run whose network is damaged."""
    (folder / "in").mkdir()
    for number in range(2):
        write_image(folder / "in" / f"{number}.png", Image(random_pixels((10, 12), seed=number)))
    (folder / "in.raw").write_bytes(bytes(192))
    (folder / "m.onnx").write_bytes(make_model())
    (folder / "int8.onnx").write_bytes(make_model(io_dtype="uint8"))
    np.savez(folder / "data.npz", images=random_pixels((8, 28, 28)))
    np.savez(folder / "noisy.npz", noisy=random_pixels((8, 28, 28, 1)))
    (folder / "run").mkdir()
    (folder / "run" / "run.toml").write_text('[model]\npreset = "v2"\nchannels = 1\n[data]\nsource = "nowhere.npz"\n')
    (folder / "run" / "model.keras").write_bytes(b"PK")


def _file(content: bytes, mode: int = 0o644) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)

    return make


def _folder(mode: int, **inside: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir(parents=True)
        for name, content in inside.items():
            (path / name.replace("_", ".")).write_bytes(content)
        path.chmod(mode)

    return make


def _locked(path: Path) -> None:
    _file(b"x")(path)
    path.parent.chmod(0)


NOTHING: Callable[[Path], None] = lambda path: None  # noqa: E731
CONDITIONS: dict[str, tuple[str, Callable[[Path], None]]] = {
    # what is wrong: the path, to which a suffix may be added, and how to make it
    "missing": ("nothing", NOTHING),
    "missing folder": ("nothing/below", NOTHING),
    "a folder": ("folder", _folder(0o755)),
    "a tampered run": ("tampered", _folder(0o755, run_toml=b"[model]\npreset = 1" + b"[" * 10**5, last_keras=b"PK\3\4")),
    "a tampered output": ("tampered", _folder(0o755, **{"dae-manifest_jsonl": b'{"path": ' + b"[" * 10**5})),
    "text": ("text", _file(b"text")),
    "empty": ("empty", _file(b"")),
    "a damaged archive": ("archive", _file(b"PK\3\4" + bytes(100))),
    "below a file": ("m.onnx/below", NOTHING),
    "no search permission": ("locked/x", _locked),
    "a locked folder": ("closed", _folder(0)),
    "a folder to read only": ("fixed", _folder(0o555)),
    "in a folder to read only": ("fixed/x", lambda path: _folder(0o555)(path.parent)),
    "unreadable": ("secret", _file(b"x", 0)),
    "a name of 300 bytes": ("x" * 300, NOTHING),
    "a path of 5000 bytes": ("y/" * 2500 + "z", NOTHING),
    "a zero byte": ("a\0b", NOTHING),
    "a link to itself": ("loop", lambda path: path.symlink_to(path.name)),
    "a link to nowhere": ("lost", lambda path: path.symlink_to("nowhere/at/all")),
    "a pipe": ("pipe", os.mkfifo),
    "a full device": ("full", lambda path: path.symlink_to("/dev/full")),
    "an endless device": ("zero", lambda path: path.symlink_to("/dev/zero")),
    "no text": ("\udcff", NOTHING),
    "control characters": ("a\n\x1b[31mb", NOTHING),
}
