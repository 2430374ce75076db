"""Networks of strangers: --init, --teacher and --resume refuse them in one error, run nothing of them, and keep all."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import keras
import pytest

from builders import short_run, small_autoencoder
from dae_train import ConfigError, RunError, TrainingSettings, resume, train

pytestmark = pytest.mark.slow


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("owned"),)


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path: Path, changed: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in changed.items():
            archive.writestr(name, content)


def change_layer(path: Path, **fields: Any) -> None:
    content = entries(path)
    config = json.loads(content["config.json"])
    config["config"]["layers"][1] |= fields
    rewrite(path, content | {"config.json": json.dumps(config).encode()})


def bomb(path: Path) -> None:
    """A gigabyte of zeros in a megabyte."""
    content = {name: part for name, part in entries(path).items() if not name.endswith(".h5")}
    rewrite(path, content)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("model.weights.h5", "w") as file:
        for _ in range(2**10):
            file.write(bytes(2**20))


def huge_weights(path: Path) -> None:
    """A terabyte of one value that the file does not hold."""
    content = entries(path)
    loose = path.with_suffix(".h5")
    loose.write_bytes(content["model.weights.h5"])
    with h5py.File(loose, "a") as file:
        found: list[str] = []
        file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
        del file[found[0]]
        file.create_dataset(found[0], shape=(2**20, 2**18), dtype="f4", chunks=(1024, 1024), compression="gzip")
    rewrite(path, content | {"model.weights.h5": loose.read_bytes()})
    loose.unlink()


def code_in_a_lambda(path: Path) -> None:
    function = {"class_name": "__lambda__", "config": {"code": "4wAAAAA=", "defaults": None, "closure": None}}
    change_layer(path, module="keras.layers", class_name="Lambda", config={"name": "x", "function": function})


def asks_for(path: Path, said: bool, **sizes: Any) -> None:
    """Change the sizes of a layer, with or without the shape that it was built for."""
    content = entries(path)
    config = json.loads(content["config.json"])
    layer = next(layer for layer in config["config"]["layers"] if "filters" in layer["config"])
    layer["config"] |= sizes
    if not said:
        for each in config["config"]["layers"]:
            each.pop("build_config", None)
    rewrite(path, content | {"config.json": json.dumps(config).encode()})


HOSTILE: dict[str, Callable[[Path], Any]] = {
    "pickled": lambda path: path.write_bytes(pickle.dumps(Payload())),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "bomb": bomb,
    "huge weights": huge_weights,
    "lambda": code_in_a_lambda,
    "function of Python": lambda path: change_layer(path, module="os", class_name="system", config={"command": "touch owned"}),
    "no weights": lambda path: rewrite(path, {name: part for name, part in entries(path).items() if ".h5" not in name}),
    "a billion filters": lambda path: asks_for(path, True, filters=2**30),
    "a million filters": lambda path: asks_for(path, False, filters=2**20),
    "a huge kernel": lambda path: asks_for(path, True, kernel_size=[2**14, 2**14]),
    "nested": lambda path: rewrite(path, entries(path) | {"config.json": b'{"config":' * 10**5}),
    "other shape": lambda path: rewrite(
        path, {name: part.replace(b'"filters": 8', b'"filters": 9') for name, part in entries(path).items()}
    ),
}


TOO_LARGE = ("a billion filters", "a million filters", "a huge kernel")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, digits_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "run"
    config = short_run(digits_file, "gaussian:0.1", epochs=1, schedule="constant")
    train(replace(config, model=small_autoencoder()), folder, device="cpu")
    return folder


@pytest.mark.parametrize("kind", HOSTILE)
def test_refused_in_one_error(
    tmp_path: Path, digits_file: Path, run: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "run")
    shutil.copy(run / "model.keras", tmp_path / "init.keras")
    HOSTILE[kind](tmp_path / "run" / "last.keras")
    HOSTILE[kind](tmp_path / "init.keras")
    if kind in TOO_LARGE:  # before Keras makes anything
        monkeypatch.setattr(keras.models, "load_model", None)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    words = "weights" if kind in TOO_LARGE else ""
    with pytest.raises(RunError, match=rf"last\.keras.*{words}"):
        resume(tmp_path / "run", epochs=2, device="cpu")
    now = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    assert now | {"run.toml": b""} == kept | {"run.toml": b""}
    for setting in ("init", "teacher"):
        config = short_run(digits_file, "gaussian:0.1", epochs=1)
        training = TrainingSettings(epochs=1, **{setting: str(tmp_path / "init.keras")})
        with pytest.raises(ConfigError, match=rf"init\.keras.*{words}"):
            train(replace(config, model=small_autoencoder(), training=training), tmp_path / "new", device="cpu")
        assert not (tmp_path / "new").exists()
    assert not (tmp_path / "owned").exists()
