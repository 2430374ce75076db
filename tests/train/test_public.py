"""What the package offers, and what importing and using it loads."""

import subprocess
import sys

import dae_train


def test_public_names() -> None:
    assert set(dae_train.__all__) == {
        "PRESETS",
        "ConfigError",
        "DataError",
        "DataSettings",
        "NetworkSettings",
        "NoiseSettings",
        "Outcome",
        "ResidualSettings",
        "RunConfig",
        "RunError",
        "TrainError",
        "TrainingSettings",
        "from_mapping",
        "from_toml",
        "preset_settings",
        "resume",
        "to_toml",
        "train",
    }
    assert all(hasattr(dae_train, name) for name in dae_train.__all__)


def test_import_and_command_line_load_no_framework() -> None:
    code = (
        "import sys, dae_train, dae_train.cli\n"
        "heavy = {'tensorflow', 'keras', 'jax', 'matplotlib', 'onnx', 'onnxruntime', 'pyvips'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
