"""A teacher of two networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from builders import invoke
from dae_tools.blend import MORE_CAMERA, MORE_WHITE, blend, command
from dae_tools.camera_noise import blur
from dae_train import preset_settings
from dae_train.errors import ConfigError
from dae_train.networks import build_network

SMALL = {"filters": (8, 8), "encoder_blocks": (1, 1), "decoder_blocks": (1,)}


def network(path: Path, seed: int, **changes: Any) -> keras.Model:
    """A small network with random weights, saved."""
    built = build_network(preset_settings("edge-m", **(SMALL | {"channels": 1, "sigma": True} | changes)))
    random = np.random.default_rng(seed)
    built.set_weights([random.normal(0, 0.1, weight.shape) for weight in built.get_weights()])
    built.save(path)
    return built


def test_both_are_told_more_of_smooth_noise_and_the_level_of_white_noise(tmp_path: Path) -> None:
    camera, white = network(tmp_path / "camera.keras", 1), network(tmp_path / "white.keras", 2)
    blend(tmp_path / "camera.keras", tmp_path / "white.keras", tmp_path / "both.keras")
    both = keras.models.load_model(tmp_path / "both.keras", compile=False)
    fine = np.random.default_rng(3).standard_normal((1, 64, 64, 1)).astype(np.float32)
    coarse = blur(fine[0], 2.0)[None]
    images = np.concatenate([0.5 + 0.05 * fine, 0.5 + 0.05 * coarse / coarse.std()]).astype(np.float32)
    told = np.full((2, 1), 0.05, np.float32)
    told_camera, told_white = (told * [[1], [1 + more]] for more in (MORE_CAMERA, MORE_WHITE))
    expected = 0.5 * np.asarray(camera([images, told_camera])) + 0.5 * np.asarray(white([images, told_white]))
    np.testing.assert_allclose(np.asarray(both([images, told])), expected, atol=1e-6)
    for each, more in ((camera, MORE_CAMERA), (white, MORE_WHITE)):
        assert np.abs(np.asarray(each([images, told])) - np.asarray(each([images, told * (1 + more)]))).max() > 1e-3


def test_a_network_learns_from_it(tmp_path: Path) -> None:
    network(tmp_path / "camera.keras", 1)
    network(tmp_path / "white.keras", 2)
    names = [str(tmp_path / name) for name in ("camera.keras", "white.keras", "both.keras")]
    result = CliRunner().invoke(command, [*names[:2], "-o", names[2]])
    assert result.exit_code == 0, result.output
    from dae_train.cli import command as train

    words = (
        "synthetic --preset edge-m --sigma-input --noise gaussian:0-20/255 --loss mse-by-level --steps 2 --steps-per-epoch 2"
    )
    rest = ["--batch-size", "4", "--teacher", names[2], "--teacher-weight", "1", "-o", str(tmp_path / "run")]
    result = invoke(train, *words.split(), *rest)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "model.keras").is_file()


def test_what_cannot_be_blended_is_refused(tmp_path: Path) -> None:
    network(tmp_path / "gray.keras", 1)
    network(tmp_path / "color.keras", 2, channels=3)
    network(tmp_path / "blind.keras", 3, sigma=False)
    with pytest.raises(ConfigError, match=r"color\.keras is for 3 channels, .*gray\.keras for 1"):
        blend(tmp_path / "gray.keras", tmp_path / "color.keras", tmp_path / "both.keras")
    with pytest.raises(ConfigError, match=r"blind\.keras is not given the noise level.*--sigma-input"):
        blend(tmp_path / "gray.keras", tmp_path / "blind.keras", tmp_path / "both.keras")
    assert not (tmp_path / "both.keras").exists()
