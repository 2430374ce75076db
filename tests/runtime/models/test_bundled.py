"""The bundled models: descriptions, and validity of each. The package's own and small ones made here."""

from __future__ import annotations

import numpy as np
import pytest

from dae_runtime import Denoiser, ModelError
from dae_runtime.contract import Quality
from dae_runtime.diagnosis.self_test import self_test
from dae_runtime.models import bundled as models

LARGEST_BYTES = 10**6


def faults(folder=None) -> list[str]:
    """Return the problems of the bundled models of a folder, None for the package's own."""
    found = []
    for model in models.describe_models(folder):
        contract, path = model.contract, models.find_model(model.name, folder)
        if model.size_bytes >= LARGEST_BYTES:
            found.append(f"{model.name}: {model.size_bytes} bytes")
        if contract.quality is None or contract.quality.psnr_db <= contract.quality.noisy_psnr_db:
            found.append(f"{model.name}: no gain in PSNR")
        if contract.noise == "unknown":
            found.append(f"{model.name}: noise unknown")
        wanted = {name: abs(channels) for channels, name in models.DEFAULT_MODELS.items()}.get(model.name, contract.channels)
        if contract.channels != wanted:
            found.append(f"{model.name}: {contract.channels} channels, not {wanted}")
        with Denoiser(path, "cpu") as denoiser:
            if not self_test(denoiser).passed:
                found.append(f"{model.name}: fails its self-test")
            image = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
            if (denoiser.denoise(image) == image).all():
                found.append(f"{model.name}: changes nothing")
    return found


def test_the_models_of_this_package_are_sound():
    # Sound as well while the package holds none; the next test shows that faults are found.
    assert faults() == []
    assert all(name == name.lower() and " " not in name for name in models.bundled_models())
    assert models.DEFAULT_MODEL not in models.bundled_models()  # the name stands for two of them


def test_faults_are_found(tmp_path, make_model, identity_kernel):
    gain = Quality(8, 20.0, 25.0, 25.0)
    (tmp_path / "gray.onnx").write_bytes(make_model(quality=gain))
    assert faults(tmp_path) == []
    golden = Denoiser(tmp_path / "gray.onnx", "cpu").model.golden
    wrong = type(golden)(golden.shape, golden.noisy, golden.noisy, golden.max_abs_error)
    bad = {
        "color": make_model(quality=gain),
        "idle": make_model(identity_kernel, quality=gain),
        "large": make_model(quality=gain, report={"padding": "x" * LARGEST_BYTES}),
        "silent": make_model(quality=gain, noise="unknown"),
        "unproven": make_model(),
        "worse": make_model(quality=Quality(8, 20.0, 25.0, 19.0)),
        "wrong": make_model(quality=gain, golden=wrong),
    }
    for name, content in bad.items():
        (tmp_path / f"{name}.onnx").write_bytes(content)
    assert {fault.partition(":")[0] for fault in faults(tmp_path)} == set(bad)
    (tmp_path / "damaged.onnx").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="damaged"):
        faults(tmp_path)


def test_a_line_describes_the_model(tmp_path, make_model):
    (tmp_path / "scans.onnx").write_bytes(
        make_model(channels=3, noise="gaussian:0-50/255", quality=Quality(8, 20.1, 28.5, 28.43))
    )
    (described,) = models.describe_models(tmp_path)
    assert str(described).startswith("scans  ")
    for part in ("KiB", "RGB", "fp32", "noise gaussian:0-50/255", "PSNR 20.10 -> 28.43 dB"):
        assert part in str(described)
    assert described.size_bytes == (tmp_path / "scans.onnx").stat().st_size


def test_names_and_paths(tmp_path, make_model, monkeypatch):
    for name in ("gray", "color", "document"):
        (tmp_path / f"{name}.onnx").write_bytes(make_model())
    gray, color, document = (tmp_path / f"{name}.onnx" for name in ("gray", "color", "document"))
    assert list(models.bundled_models(tmp_path)) == ["color", "document", "gray"]
    assert models.find_models("default", tmp_path) == {1: gray, 3: color, -3: color}
    assert models.find_models("document", tmp_path) == dict.fromkeys((1, 3, -3), document)
    monkeypatch.chdir(tmp_path)
    assert models.find_models("gray.onnx", tmp_path / "none") == dict.fromkeys(
        (1, 3, -3), gray
    )  # absolute: a pickle may go elsewhere
    for text in ("", "nothing"):
        with pytest.raises(ModelError, match=r"neither a file nor.*color, document, gray"):
            models.find_model(text, tmp_path)
