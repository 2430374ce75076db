"""Small files of trained networks: the same network, less than half the bytes, the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from dae_tools.pack_network import pack
from dae_train.networks import build_network
from dae_train.settings.networks import preset_settings
from dae_train.settings.trained_file import BUNDLED, model_table

LARGEST_BYTES = 1_000_000


def test_a_packed_network_is_the_same_and_smaller(tmp_path: Path) -> None:
    network = build_network(preset_settings("edge-s", channels=1))
    network.save(tmp_path / "whole.keras")
    size = pack(tmp_path / "whole.keras", tmp_path / "small.keras")
    assert size == (tmp_path / "small.keras").stat().st_size < 0.75 * (tmp_path / "whole.keras").stat().st_size
    assert model_table(str(tmp_path / "small.keras")) == {"preset": "edge-s"}
    noisy = np.random.default_rng(0).random((1, 32, 48, 1), np.float32)
    again = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(np.asarray(again(noisy)), np.asarray(network(noisy)), atol=1e-3)
    assert again.layers[1].kernel.dtype == "float32"


def test_packing_twice_gives_equal_networks(tmp_path: Path) -> None:
    build_network(preset_settings("edge-s", channels=3)).save(tmp_path / "whole.keras")
    pack(tmp_path / "whole.keras", tmp_path / "once.keras")
    pack(tmp_path / "once.keras", tmp_path / "twice.keras")
    once, twice = (keras.models.load_model(tmp_path / name).get_weights() for name in ("once.keras", "twice.keras"))
    assert all(np.array_equal(a, b) for a, b in zip(once, twice, strict=True))


def test_the_networks_in_the_package_are_small_and_of_their_presets() -> None:
    for path in sorted(BUNDLED.glob("*.keras")):
        assert path.stat().st_size < LARGEST_BYTES, path
        loaded = keras.models.load_model(path, compile=False)
        more = {"sigma": True} if len(loaded.inputs) > 1 else {}
        fresh = build_network(preset_settings(loaded.name, channels=loaded.inputs[0].shape[-1], **more))
        assert [w.shape for w in loaded.weights] == [w.shape for w in fresh.weights], path
