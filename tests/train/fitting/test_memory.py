"""A training that cannot fit into memory is refused before it starts, and no other one is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dae_train import ConfigError, DataSettings, NoiseSettings, RunConfig, TrainingSettings, preset_settings, train
from dae_train.fitting import memory
from dae_train.settings.networks import PRESETS

GIB = 2**30
MEASURED = """
import sys
from pathlib import Path
import keras
from dae_train import DataSettings, NoiseSettings, RunConfig, TrainingSettings, preset_settings, train
preset, data, output, precision = sys.argv[1:]
def peak():  # that of getrusage begins with the peak of the parent
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
before = peak()
settings = RunConfig(
    preset_settings(preset), NoiseSettings("gaussian:0.1"), DataSettings(data, patch_px=256),
    TrainingSettings(steps=1, batch_size=16, precision=precision),
)
train(settings, output, device="cpu")
print(1024 * (peak() - before))
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.save(tmp_path / "data.npy", np.random.default_rng(0).integers(0, 256, (2, 600, 600, 1), np.uint8))
    return tmp_path / "data.npy"


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "precision"), [("document", "fp32"), ("v2", "amp")])
def test_a_training_takes_at_least_what_is_asked_for(data, preset, precision, monkeypatch):
    settings = TrainingSettings(precision=precision)
    line = [sys.executable, "-c", MEASURED, preset, str(data), str(data.parent / "run"), precision]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(memory, "available_bytes", lambda: int(done.stdout.split()[-1]))
    memory.check_step(preset_settings(preset), settings, 16, (256, 256))
    with pytest.raises(ConfigError, match="GiB of memory"):
        memory.check_step(preset_settings(preset), settings, 64, (256, 256))  # and not much less than what it takes


@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"v1"}))
@pytest.mark.parametrize(("size_px", "batch_size"), [(512, None), (64, 1000)])
def test_too_large_a_step_is_refused_with_the_remedy(data, tmp_path, preset, size_px, batch_size, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: GIB // 2)
    settings = RunConfig(
        preset_settings(preset),
        NoiseSettings("gaussian:0.1"),
        DataSettings(str(data), patch_px=size_px),
        TrainingSettings(batch_size=batch_size),
    )
    count = batch_size or 16
    with pytest.raises(ConfigError) as caught:
        train(settings, tmp_path / "run", device="cpu")
    assert str(caught.value).startswith(f"a step of {preset} on {count} images of {size_px}x{size_px} pixels takes at least ")
    assert str(caught.value).endswith(
        " GiB of memory, and 0.5 GiB are available. Give a smaller --patch-size or --batch-size."
    )
    assert not (tmp_path / "run").exists()


def test_too_many_crops_are_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: GIB)
    settings = RunConfig(noise=NoiseSettings("gaussian:0.1"), data=DataSettings(str(data), patch_px=2000))
    with pytest.raises(
        ConfigError, match=r"^64 crops of 2000x2000 pixels for validation take at least 2\.9 GiB .*--patch-size"
    ):
        train(settings, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("preset", PRESETS)
def test_the_defaults_fit_into_a_small_machine(preset, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2 * GIB)
    for size, batch in ((28, 64), (64, 16), (128, 16)):
        memory.check_step(preset_settings(preset, channels=3), TrainingSettings(), batch, (size, size))
        memory.check_crops(64, (size, size), 3)
