"""GELU in both of its forms exports, though the converter knows no Erfc."""

from __future__ import annotations

import pytest

from dae_export import ExportOptions, export


@pytest.mark.slow
@pytest.mark.parametrize("approximate", [False, True])
def test_gelu_exports(keras, make_model, tmp_path, approximate):
    layers = keras.layers

    def network(image):
        x = layers.Conv2D(8, 3, padding="same")(image)
        x = layers.Activation(lambda y: keras.activations.gelu(y, approximate=approximate))(x)
        return layers.Conv2D(1, 3, padding="same")(x)

    result = export(make_model(network), tmp_path / "gelu.onnx", ExportOptions(rewrite=False))
    assert result.contract.parity.max_abs_error < 1e-5
    assert result.node_counts.get("Erf", 0) == (not approximate)
    assert "Erfc" not in result.node_counts
    assert result.contract.halo_px == 2
