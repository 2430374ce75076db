"""MNIST and Fashion-MNIST through `keras.datasets`."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dae_runtime.system.command import import_quietly

from ..errors import DataError
from . import array_files
from .image_set import ImageSet, Pixels, array_digest

NAMES = ("mnist", "fashion_mnist")
_ORIGIN = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_FASHION_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_TIMEOUT_S = 20.0


def read(name: str, channels: int | None, limit: int | None) -> tuple[ImageSet, ImageSet | None, str]:
    """Return the training images with labels, the test images with labels, and their SHA-256.

    A `mnist.npz` or `fashion_mnist.npz` in the Keras cache with the arrays `x_train`, `y_train`, `x_test`, `y_test` is used;
    otherwise `keras.datasets` reads its own files from the cache, or downloads them.

    Raises:
        DataError: The file is not cached and the download fails.
    """
    arrays = _load(name)
    train = array_files.from_arrays(arrays, "x_train", name, channels, limit)
    test = array_files.from_arrays(arrays, "x_test", name, channels, None)
    return train, test, array_digest(arrays[key] for key in sorted(arrays))


def cache_folder() -> Path:
    """Return the data set cache of Keras."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"


def _load(name: str) -> dict[str, Pixels]:
    single_file = cache_folder() / f"{name}.npz"
    if single_file.is_file():
        return _load_single(single_file)
    import_quietly("keras")  # takes seconds; not needed with a single cached file
    import keras

    try:
        with _socket_timeout(_TIMEOUT_S):
            (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # keras raises a bare Exception when a download fails
        raise DataError(_remedy(name, error)) from error
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def _load_single(path: Path) -> dict[str, Pixels]:
    # Keras accepts only the bytes of its own download; any file with these arrays is fine here.
    arrays = array_files.read_arrays(path)
    if missing := [name for name in _ARRAYS if name not in arrays]:
        raise DataError(
            f"{path} lacks the arrays {', '.join(missing)}. Replace it with the file from {_ORIGIN}, or delete it."
        )
    return {name: arrays[name] for name in _ARRAYS}


def _remedy(name: str, error: Exception) -> str:
    folder = cache_folder()
    if name == "mnist":
        files = f"{_ORIGIN}mnist.npz to {folder / 'mnist.npz'}"
    else:
        parts = ", ".join(_FASHION_FILES)
        files = f"{parts} from {_ORIGIN} to {folder / 'fashion-mnist'}, or one {folder / 'fashion_mnist.npz'}"
    return f"{name} is not in the Keras cache and cannot be downloaded ({error}). Without a network, copy {files}."


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    # Without a timeout a download behind a silent firewall never ends.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
