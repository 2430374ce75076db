"""Settings: checks, TOML, and how flags change them."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dae_train.errors import ConfigError
from dae_train.settings.config import (
    DataSettings,
    NoiseSettings,
    RunConfig,
    TrainingSettings,
    from_mapping,
    from_toml,
    to_mapping,
    to_toml,
)
from dae_train.settings.flags import FLAGS, check_same, command_line, default_output, merge
from dae_train.settings.networks import NetworkSettings, preset_settings


@given(
    lr=st.floats(1e-9, 10),
    epochs=st.integers(1, 10**6),
    slope=st.floats(0, 2),
    once=st.booleans(),
    source=st.text(min_size=1).filter(lambda text: text.isprintable()),
    patch=st.none() | st.integers(1, 4096),
)
def test_toml_round_trip(lr: float, epochs: int, slope: float, once: bool, source: str, patch: int | None) -> None:
    config = RunConfig(
        model=preset_settings("v1", z_dim=5, negative_slope=slope, batch_norm=True),
        noise=NoiseSettings("gaussian:0.1+jpeg:30", once=once),
        data=DataSettings(source, patch_px=patch),
        training=TrainingSettings(learning_rate=lr, epochs=epochs),
    )
    import tomllib

    assert from_mapping(tomllib.loads(to_toml(config, {"versions": {"x": "1"}, "command": "y"}))) == config


def test_empty_file_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("")
    assert from_toml(tmp_path / "c.toml") == RunConfig()


def test_every_network_setting_is_a_key(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        "[model]\npreset = 'v2'\nchannels = 3\nencoder_filters = [8, 16]\nencoder_kernels_px = [5, 3]\n"
        "encoder_strides = [2, 2]\ndecoder_filters = [9]\ndecoder_kernels_px = [3, 7]\ndecoder_strides = [2, 2]\n"
        "negative_slope = 0\nbatch_norm = true\ndropout = 0.25\n"
    )
    expected = NetworkSettings("v2", (8, 16), (5, 3), (2, 2), (9,), (3, 7), (2, 2), 3, 0.0, True, 0.25)
    assert from_toml(tmp_path / "c.toml").model == expected


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"modell": {}}, "unknown tables modell"),
        ({"training": {"lr": 1.0}}, "[training] has unknown keys lr"),
        ({"model": {"preset": "v9"}}, "must be one of v1, v2, edge-s, edge-m, edge-l, document, digits, not 'v9'"),
        ({"model": {"dropout": 0.1}}, "unknown keys dropout"),
        ({"model": {"preset": "v2", "encoder_filters": [1, 2]}}, "encoder_kernels_px must be 2 positive numbers"),
        ({"model": {"preset": "v2", "decoder_strides": [2, 2, 2]}}, "product is that of encoder_strides, 4"),
        ({"model": {"preset": "v2", "dropout": 1.0}}, "dropout must be at least 0 and below 1"),
        ({"model": {"channels": 2}}, "channels must be 1 or 3"),
        ({"model": {"preset": "v2", "z_dim": 2}}, "image_px must be given exactly with z_dim"),
        ({"model": {"preset": "v1", "image_px": 30}}, "image_px must be a positive multiple of 4"),
        ({"model": 3}, "[model] must be a table"),
        ({"training": {"epochs": 1.5}}, "training.epochs must be a whole number, not 1.5"),
        ({"training": {"epochs": True}}, "training.epochs must be a whole number"),
        ({"training": {"epochs": 0}}, "at least 1"),
        ({"training": {"loss": "ssim"}}, "bce, mse, l1, charbonnier or mse-by-level"),
        ({"training": {"learning_rate": 0}}, "above 0"),
        ({"training": {"seed": -1}}, "from 0 up to"),
        ({"data": {"validation_fraction": 1}}, "below 1"),
        ({"data": {"patch_px": 0}}, "at least 1"),
        (
            {"training": {"schedule": "constant", "warmup_steps": 50}},
            "warmup_steps must be omitted with the constant schedule",
        ),
        ({"training": {"teacher_weight": 0.9}}, "teacher_weight must be omitted without a teacher, not 0.9"),
        (
            {"training": {"loss": "bce"}},
            "an output in [0, 1], which edge-s can exceed. Use --preset",
        ),
        ({"training": {"loss": "bce"}, "model": {"preset": "digits", "sigmoid": False}}, "model.sigmoid = true"),
        ({"noise": {"spec": "fog:1"}}, "not a kind of noise"),
        ({"noise": {"spec": "none"}}, "nothing to remove"),
        ({"noise": {"clip": "yes"}}, "noise.clip must be true or false"),
    ],
)
def test_wrong_settings_are_refused_by_name(document: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(document, "settings.toml")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        {"training": {"schedule": "constant", "warmup_steps": 0, "teacher_weight": 0.5}},
        {"training": {"teacher": "gray", "teacher_weight": 0.9}},
        {"training": {"loss": "bce"}, "model": {"preset": "digits"}},
        {"training": {"loss": "bce"}, "model": {"preset": "edge-s", "sigmoid": True}},
        {"training": {"loss": "bce"}, "data": {"source": "mnist"}},
    ],
)
def test_compatible_settings_are_accepted(document: dict[str, Any]) -> None:
    config = from_mapping(document)
    assert from_mapping(to_mapping(config)) == config


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[model")
    for name in ("c.toml", "missing.toml"):
        with pytest.raises(ConfigError, match=name):
            from_toml(tmp_path / name)


def test_noise_follows_from_the_data() -> None:
    assert RunConfig(data=DataSettings("mnist")).noise_spec == "gaussian:0.5"
    assert RunConfig(data=DataSettings("fashion_mnist")).noise_spec == "gaussian:0.2"
    assert RunConfig().noise_spec == "gaussian:0.02-0.2"
    assert RunConfig(data=DataSettings("a", target="b")).noise_spec == "none"


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[training]\nepochs = 3\nloss = 'l1'\n[data]\nsource = 'mnist'\nsha256 = 'abc'\n")
    config = merge(str(path), {"epochs": 7, "loss": None, "clip": False})
    assert (config.training.epochs, config.training.loss, config.noise.clip) == (7, "l1", False)
    assert config.data.sha256 == "abc"
    assert merge(str(path), {"data": "mnist"}).data.sha256 == "abc"
    assert merge(str(path), {"limit": 9}).data.sha256 is None


def test_flags_set_the_length_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[training]\nsteps = 900\n")
    assert merge(str(path), {"epochs": 7}).training == TrainingSettings(epochs=7)
    assert merge(str(path), {"steps": 70}).training == TrainingSettings(steps=70)
    with pytest.raises(ConfigError, match="--epochs and --steps both"):
        merge(None, {"epochs": 7, "steps": 70})


def test_every_flag_reaches_a_setting() -> None:
    tables = to_mapping(
        RunConfig(
            model=preset_settings("v1", channels=1),
            noise=NoiseSettings("gaussian:1"),
            data=DataSettings("x", "y", 4, 3, 0.1, "g", "0", False),
            training=TrainingSettings(
                steps=1,
                steps_per_epoch=1,
                batch_size=1,
                warmup_steps=1,
                learning_rate=1,
                init="a",
                teacher="b",
                loss="l1",
                optimizer="adam",
            ),
        )
    )
    tables["model"] |= to_mapping(RunConfig())["model"]  # each kind of network has flags of its own
    assert all(flag.key in tables[flag.table] for flag in FLAGS.values())


def test_command_line_has_flags_for_non_defaults() -> None:
    given: dict[str, Any] = {"data": "mnist", "noise": "gaussian:0.5", "noise_once": True, "lr": 5e-4, "schedule": "constant"}
    line = command_line(merge(None, given), given)
    assert line == "dae-train mnist --noise gaussian:0.5 --noise-once --lr 0.0005 --schedule constant"


def test_conflicting_flags_of_a_resumed_run_are_named() -> None:
    config = merge(None, {"data": "mnist", "lr": 1e-3, "loss": "mse"})
    check_same(config, {"data": "mnist", "lr": 1e-3, "loss": "mse", "epochs": 99, "seed": None})
    with pytest.raises(ConfigError) as caught:
        check_same(config, {"data": "synthetic", "lr": 2e-3, "patch_size": 32})
    for part in ("DATA synthetic (the run has mnist)", "--lr 0.002 (the run has 0.001)", "--patch-size 32 (the run has None)"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("mnist", "mnist-v2"),
        ("/a/my photos/", "my_photos-edge-s"),
        ("x/data.npz", "data-edge-s"),
        ("..", "data-edge-s"),
        ("/", "data-edge-s"),
    ],
)
def test_default_output_is_named_after_data_and_preset(source: str, expected: str) -> None:
    assert default_output(merge(None, {"data": source})) == Path("runs") / expected
