"""Settings of networks that are given the noise level: what they ask for, and older files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dae_train import ConfigError, RunConfig, from_mapping, preset_settings, to_toml
from dae_train.fitting.preparation import prepare
from dae_train.networks import build_network
from dae_train.settings.config import from_toml
from dae_train.settings.flags import command_line, merge
from dae_train.settings.networks import takes_sigma
from dae_train.settings.trained_file import channels_of, model_table

RANGE = {"spec": "gaussian:0-0.2"}


def leveled(preset: str = "edge-s", noise: dict[str, Any] = RANGE, **tables: Any) -> RunConfig:
    return from_mapping({"model": {"preset": preset, "sigma": True}, "noise": noise, **tables})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "digits"}, r"model\.sigma must be false with model\.sigmoid"),
        ({"preset": "v2"}, "unknown keys sigma"),
        ({"noise": {"spec": "gaussian:0.1"}}, "a range of levels"),
        ({"noise": {}, "data": {"source": "mnist"}}, "a range of levels"),
        (
            {"noise": {}, "data": {"target": "clean"}, "training": {"supervision": "noise2noise"}},
            "supervision must be 'clean'",
        ),
        ({"training": {"supervision": "noise2void"}}, "supervision must be 'clean'"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        leveled(**arguments)


def test_loss_by_level_needs_the_level() -> None:
    assert leveled(training={"loss": "mse-by-level"}).training.loss == "mse-by-level"
    with pytest.raises(ConfigError, match=r"model\.sigma must be true with the loss mse-by-level"):
        from_mapping({"training": {"loss": "mse-by-level"}})


@pytest.mark.parametrize("sigma", [False, True])
def test_default_loss_follows_the_network(tmp_path: Path, sigma: bool) -> None:
    named = {False: "mse", True: "mse-by-level"}
    config = merge(None, {"limit": 4, "steps": 1, "sigma_input": sigma})
    assert prepare(config).config.training.loss == named[sigma]
    assert "--loss" not in command_line(config, {"limit": 4, "steps": 1, "sigma_input": sigma})
    (tmp_path / "run.toml").write_text(to_toml(prepare(config).config))
    assert merge(str(tmp_path / "run.toml"), {"sigma_input": not sigma}).loss == named[not sigma]
    assert merge(str(tmp_path / "run.toml"), {"sigma_input": True, "loss": "l1"}).loss == "l1"
    assert (
        merge(str(tmp_path / "run.toml"), {"preset": "edge-m"}).loss == "mse"
    )  # another preset is blind unless told otherwise


def test_flag_and_file_say_the_same(tmp_path: Path) -> None:
    given = {"data": "synthetic", "sigma_input": True, "loss": "mse-by-level"}
    config = merge(None, given)
    assert takes_sigma(config.model)
    assert command_line(config, given) == "dae-train synthetic --sigma-input --loss mse-by-level"
    (tmp_path / "run.toml").write_text(to_toml(config))
    assert from_toml(tmp_path / "run.toml") == config
    assert not takes_sigma(merge(str(tmp_path / "run.toml"), {"sigma_input": False}).model)


def test_older_files_mean_networks_without_it() -> None:
    model = from_mapping({"model": {"preset": "edge-m", "filters": [16, 32], "sigmoid": False, "channels": 1}}).model
    assert model == preset_settings("edge-m", filters=(16, 32), channels=1)
    assert not takes_sigma(model)


def test_a_trained_file_shows_it(tmp_path: Path) -> None:
    for sigma, channels in ((False, 3), (True, 1), (True, 3)):
        path = tmp_path / f"{sigma}-{channels}.keras"
        build_network(preset_settings("edge-s", sigma=sigma, channels=channels)).save(path)
        assert channels_of(str(path), "--init") == channels
        assert model_table(str(path)) == {"preset": "edge-s", **({"sigma": True} if sigma else {})}
        assert merge(None, {"init": str(path)}).model == preset_settings("edge-s", sigma=sigma, channels=channels)
