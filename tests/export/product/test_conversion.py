"""An old file is converted only if its sums are then exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dae_export import CalibrationError, ExportOptions, GateError, convert_file
from dae_export.product import conversion

OLD_COLOR = Path(__file__).parents[2] / "data/color-version-1.onnx"


def test_a_file_that_does_not_become_exact_is_refused_and_nothing_is_written(tmp_path, pictures, monkeypatch):
    np.save(tmp_path / "noisy.npy", pictures(4, 16, 3)[0])
    monkeypatch.setattr(conversion, "round_weights", lambda *_: {})
    monkeypatch.setattr(conversion, "put_weights", lambda *_: None)  # as if a layer were of a kind that is not rounded
    with pytest.raises(GateError, match=r"not exact on every processor.*conv_12"):
        convert_file(OLD_COLOR, tmp_path / "new.onnx", ExportOptions(calibration_data=tmp_path / "noisy.npy"))
    assert [path.name for path in tmp_path.iterdir()] == ["noisy.npy"]


def test_samples_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(CalibrationError, match="does not exist"):
        convert_file(OLD_COLOR, tmp_path / "new.onnx", ExportOptions(calibration_data=str(tmp_path / "missing")))
