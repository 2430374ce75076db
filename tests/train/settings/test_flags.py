"""How flags change the settings of a file, and the command that repeats a run."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import pytest

from dae_train import cli, preset_settings
from dae_train.errors import ConfigError
from dae_train.fitting.preparation import prepare
from dae_train.settings.config import RunConfig, from_mapping, to_toml
from dae_train.settings.flags import FLAGS, command_line, merge, with_epochs
from dae_train.settings.training import FINE_TUNING, LEARNING_RATES

RECIPES = sorted((Path(cli.__file__).parent / "recipes").glob("*.toml"))
SHA256 = "0" * 64


def write_run(folder: Path, **tables: dict[str, Any]) -> str:
    """Write a run.toml with every setting filled in, as a run leaves it, and return its path."""
    training = {"learning_rate": LEARNING_RATES["muon"], **tables.pop("training", {})}
    config = from_mapping(
        {"data": {"sha256": SHA256, "patch_px": 64}, "model": {"channels": 1}, "training": training, **tables}
    )
    folder.mkdir(exist_ok=True)
    (folder / "run.toml").write_text(to_toml(config, {"command": "dae-train", "record": {"device": "CPU"}}), "utf-8")
    return str(folder / "run.toml")


def repeated(line: str) -> RunConfig:
    """Return the settings that a command stands for."""
    name, *words = shlex.split(line)
    assert name == "dae-train"
    given = cli.command.make_context(name, words).params
    return merge(given["config"], {key: value for key, value in given.items() if key in FLAGS})


def bare(config: RunConfig) -> RunConfig:
    """Return settings without digests, and without the epochs that steps replace."""
    training = dataclasses.replace(config.training, init_sha256=None, teacher_sha256=None)
    training = dataclasses.replace(training, epochs=1) if training.steps else training
    return dataclasses.replace(config, data=dataclasses.replace(config.data, sha256=None), training=training)


def test_another_preset_replaces_the_network(tmp_path: Path) -> None:
    base = write_run(tmp_path)
    assert merge(base, {"preset": "edge-m"}).model == preset_settings("edge-m", channels=1)
    assert merge(base, {"preset": "v2", "dropout": 0.1}).model == preset_settings("v2", channels=1, dropout=0.1)
    changed = write_run(tmp_path / "changed", model={"preset": "edge-m", "encoder_blocks": [1, 1]})
    assert merge(changed, {"preset": "edge-m"}).model.encoder_blocks == (1, 1)  # type: ignore[union-attr]
    (tmp_path / "bare.toml").write_text("[model]\nblock_layers = 4\n")
    assert merge(str(tmp_path / "bare.toml"), {"preset": "edge-s"}).model == preset_settings("edge-s", block_layers=4)
    assert merge(str(tmp_path / "bare.toml"), {"preset": "edge-m"}).model == preset_settings("edge-m")


@pytest.mark.parametrize("given", [{"seed": 1}, {"channels": 3}, {"patch_size": 256}])
def test_digest_of_synthetic_images_depends_on_their_settings(tmp_path: Path, given: dict[str, Any]) -> None:
    base = write_run(tmp_path)
    assert merge(base, given).data.sha256 is None
    assert merge(base, {"seed": 0, "channels": 1, "patch_size": 64, "lr": 1e-3}).data.sha256 == SHA256
    photos = write_run(tmp_path / "photos", data={"source": "photos", "sha256": SHA256})
    assert merge(photos, given).data.sha256 == SHA256


def test_run_is_repeated_with_another_seed(tmp_path: Path) -> None:
    first = prepare(from_mapping({"data": {"limit": 3}})).config
    (tmp_path / "run.toml").write_text(to_toml(first), "utf-8")
    assert prepare(merge(str(tmp_path / "run.toml"), {})).config == first
    other = prepare(merge(str(tmp_path / "run.toml"), {"seed": 1})).config
    assert other.data.sha256 != first.data.sha256


@pytest.mark.parametrize(
    ("preset", "optimizer"),
    [("v1", "muon-plain"), ("v2", "muon-plain"), ("edge-s", "muon-plain"), ("edge-m", "muon"), ("digits", "muon")],
)
def test_default_optimizer_follows_the_network(tmp_path: Path, preset: str, optimizer: str) -> None:
    data = {"source": "synthetic", "limit": 4}
    assert merge(None, {"preset": preset}).optimizer == optimizer
    assert merge(None, {"preset": preset, "optimizer": "adam"}).optimizer == "adam"
    filled = write_run(tmp_path, data=data, training={"optimizer": "muon-plain"})  # as a run of edge-s leaves it
    assert merge(filled, {"preset": preset}).optimizer == optimizer
    chosen = write_run(tmp_path, data=data, training={"optimizer": "adam"})
    assert merge(chosen, {"preset": preset}).optimizer == "adam"


def test_a_run_describes_the_optimizer_that_it_used() -> None:
    config = merge(None, {"limit": 4, "steps": 1, "preset": "edge-m"})
    assert prepare(config).config.training.optimizer == "muon"
    assert "--optimizer" not in command_line(config, {"limit": 4, "steps": 1, "preset": "edge-m"})


def test_default_rate_follows_optimizer_and_start(tmp_path: Path) -> None:
    base = write_run(tmp_path)
    assert merge(base, {"optimizer": "adam"}).training.rate == LEARNING_RATES["adam"]
    assert merge(base, {"init": "gray"}).training.rate == FINE_TUNING * LEARNING_RATES["muon"]
    assert merge(base, {"optimizer": "adam", "init": "gray"}).training.rate == FINE_TUNING * LEARNING_RATES["adam"]
    assert merge(base, {"optimizer": "adam", "lr": 0.5}).training.rate == 0.5
    assert merge(base, {"optimizer": "muon"}).training.rate == LEARNING_RATES["muon"]
    chosen = write_run(tmp_path / "chosen", training={"learning_rate": 0.004})
    assert merge(chosen, {"optimizer": "adam"}).training.rate == 0.004


def test_constant_schedule_drops_the_warm_up_of_a_file(tmp_path: Path) -> None:
    base = write_run(tmp_path, training={"warmup_steps": 50})
    assert merge(base, {"schedule": "constant"}).training.warmup_steps is None
    with pytest.raises(ConfigError, match=r"training\.warmup_steps must be omitted with the constant schedule, not 9"):
        merge(base, {"schedule": "constant", "warmup_steps": 9})


def test_tables_that_are_none_are_refused_with_flags_too(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("training = 3\n")
    with pytest.raises(ConfigError, match=r"\[training\] must be a table, not 3"):
        merge(str(tmp_path / "a.toml"), {"seed": 1})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
@pytest.mark.parametrize("given", [{}, {"data": "photos", "lr": 1 / 3, "seed": 7, "augment": False, "steps": 12345}])
def test_command_repeats_a_recipe(path: Path, given: dict[str, Any]) -> None:
    config = merge(str(path), given)
    assert bare(repeated(command_line(config, given, str(path)))) == bare(config)


def test_command_repeats_a_run_of_steps(tmp_path: Path) -> None:
    base = write_run(tmp_path, training={"steps": 300, "epochs": 3, "steps_per_epoch": 100})
    line = command_line(merge(base, {}), {}, base)
    assert "--steps 300" in line
    assert "--epochs" not in line
    assert bare(repeated(line)) == bare(merge(base, {}))


def test_command_names_the_file_of_settings_without_flags(tmp_path: Path) -> None:
    base, given = (
        write_run(tmp_path / "a b", model={"preset": "edge-m", "encoder_blocks": [1, 1]}),
        {"epochs": 3, "clip": False},
    )
    line = command_line(merge(base, given), given, base)
    assert line == f"dae-train synthetic --config {shlex.quote(base)} --no-clip --epochs 3"
    assert repeated(line) == merge(base, given)
    free = write_run(tmp_path / "free", model={"preset": "v1", "z_dim": 8, "image_px": 32})
    assert repeated(command_line(merge(free, {}), {}, free)) == merge(free, {})


@pytest.mark.parametrize("words", ["'a b' --epochs 2 --lr 0.1", "'a b' --steps 300 --lr 0.1", "'a b' --lr 0.1"])
def test_command_with_another_number_of_epochs(words: str) -> None:
    assert with_epochs(f"dae-train {words}", 7) == "dae-train 'a b' --lr 0.1 --epochs 7"


def test_command_keeps_all_digits() -> None:
    given = {"lr": 0.00123456789, "val_split": 1 / 7}
    assert repeated(command_line(merge(None, given), given)) == merge(None, given)
