"""Sessions: opened from valid files, refused for others, and run."""

from __future__ import annotations

import os

import numpy as np
import pytest

from dae_runtime import Denoiser, DeviceError, InputError, ModelError
from dae_runtime.contract import from_json, to_json
from dae_runtime.diagnosis.self_test import self_test
from dae_runtime.engine import session as engine
from dae_runtime.system.processor import available_cpus


@pytest.mark.parametrize("io_dtype", ["float32", "uint8"])
def test_bound_runs_equal_plain_ones(make_model, io_dtype):
    session = engine.open_session(make_model(io_dtype=io_dtype), "cpu", 1)
    for shape in ((1, 9, 7, 1), (3, 5, 11, 1), (1, 9, 7, 1)):
        batch = np.random.default_rng(0).integers(0, 256, shape).astype(io_dtype)
        bound = engine.run_bound(session, batch, "cpu", 0)
        np.testing.assert_array_equal(bound, engine.run_session(session, batch))
        assert bound.dtype == io_dtype
    told = engine.open_session(make_model(io_dtype=io_dtype, gain=8.0), "cpu", 1)
    levels = np.float32([[0], [0.05], [0.1]])
    batch = np.random.default_rng(0).integers(0, 256, (3, 5, 11, 1)).astype(io_dtype)
    bound = engine.run_bound(told, batch, "cpu", 0, levels)
    np.testing.assert_array_equal(bound, engine.run_session(told, batch, levels))
    np.testing.assert_array_equal(bound[0], batch[0])
    assert (bound[2] != batch[2]).any()


def test_no_telemetry_unless_it_is_asked_for(run_python, blur_file):
    code = (
        f"import os; from dae_runtime import Denoiser as D; D({str(blur_file)!r}); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    assert run_python("-c", code, env=environment).stdout.strip() == "1"
    assert run_python("-c", code, env={**environment, "ORT_DISABLE_TELEMETRY": "0"}).stdout.strip() == "0"


def test_threads_are_checked(blur_bytes):
    with pytest.raises(InputError, match=r"from 1 to \d+, not 0"):
        Denoiser(blur_bytes, threads=0)


def test_the_session_has_the_threads_asked_for(blur_bytes):
    assert engine.open_session(blur_bytes, threads=3).get_session_options().intra_op_num_threads == 3
    assert engine.open_session(blur_bytes).get_session_options().intra_op_num_threads == available_cpus()


BLOCKED = "import sys; sys.modules['onnxruntime'] = None\n"


def test_without_the_engine_both_install_commands_are_named(blur_file, run_python):
    code = BLOCKED + f"from dae_runtime import Denoiser\nDenoiser({str(blur_file)!r})"
    result = run_python("-c", code)
    assert "MissingDependencyError" in result.stderr
    assert "pip install onnxruntime," in result.stderr
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in result.stderr


def test_both_engine_packages_at_once_are_noticed(tmp_path, blur_file, run_python):
    for name in ("onnxruntime", "onnxruntime_gpu"):
        folder = tmp_path / f"{name}-1.2.3.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.2.3\n")
    code = (
        f"import sys, logging; logging.basicConfig(); sys.path.insert(0, {str(tmp_path)!r})\n"
        f"from dae_runtime import Denoiser; Denoiser({str(blur_file)!r}, 'cpu')"
    )
    result = run_python("-c", code)
    assert result.returncode == 0
    assert "both installed" in result.stderr
    assert "pip uninstall" in result.stderr


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_model_is_a_model_error(blur_bytes, tmp_path, share):
    part = blur_bytes[: int(len(blur_bytes) * share)]
    path = tmp_path / "part.onnx"
    path.write_bytes(part)
    for model in (part, path):
        with pytest.raises(ModelError):
            Denoiser(model, "cpu")


def test_no_damaged_byte_gets_past_our_errors(blur_bytes):
    """Either the model still opens (the byte did not matter) or the error is ours."""
    refused = 0
    for position in np.random.default_rng(0).integers(0, len(blur_bytes), 60):
        damaged = bytearray(blur_bytes)
        damaged[position] ^= 0xFF
        try:
            Denoiser(bytes(damaged), "cpu", 1)
        except ModelError:
            refused += 1
    assert refused > 10


def test_other_files_are_model_errors(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    with pytest.raises(ModelError, match=r"text\.onnx"):
        Denoiser(path)
    with pytest.raises(ModelError, match="neither a file"):
        Denoiser(tmp_path / "absent.onnx")


def test_a_model_without_a_contract(make_model):
    with pytest.raises(ModelError, match="no contract"):
        Denoiser(make_model(metadata=""), "cpu")


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", '{"format":"dae-model","version":2}', '{"format":"other"}', "[" * 100_000]
)
def test_a_model_with_a_damaged_contract(make_model, text):
    with pytest.raises(ModelError):
        Denoiser(make_model(metadata=text), "cpu")


def test_a_model_that_contradicts_its_contract(make_model):
    def contract_of(**settings):
        session = engine.open_session(make_model(**settings))
        return to_json(from_json(session.get_modelmeta().custom_metadata_map["dae"]))

    for claim in ({"channels": 3}, {"io_dtype": "uint8"}, {"size": (8, 12), "alignment": 4}):
        # A graph of free size may serve a contract of fixed size; every other difference is refused.
        if "size" in claim:
            Denoiser(make_model(metadata=contract_of(**claim)), "cpu")
        else:
            with pytest.raises(ModelError, match=r"contradicts its contract.*expected one input 'noisy'"):
                Denoiser(make_model(metadata=contract_of(**claim)), "cpu")
    with pytest.raises(ModelError, match="contradicts"):
        Denoiser(make_model(size=(8, 12), alignment=4, metadata=contract_of(alignment=4)), "cpu")


def test_an_engine_failure_is_ours(make_model):
    # The contract claims alignment 1, the graph needs 4.
    denoiser = Denoiser(make_model(alignment=4, alignment_px=1), "cpu")
    with pytest.raises(DeviceError, match=r"\(1, 5, 5, 1\)"):
        denoiser.denoise(np.zeros((5, 5), np.uint8))


@pytest.mark.parametrize("io_dtype", ["float32", "uint8"])
def test_self_test(make_model, io_dtype):
    sound = Denoiser(make_model(io_dtype=io_dtype, alignment=4), "cpu")
    assert self_test(sound).passed
    golden = sound.model.golden
    wrong = type(golden)(golden.shape, golden.noisy, golden.noisy, golden.max_abs_error)
    outcome = self_test(Denoiser(make_model(io_dtype=io_dtype, alignment=4, golden=wrong), "cpu"))
    assert not outcome.passed
    assert outcome.max_abs_error > outcome.allowed_max


def test_the_self_test_of_a_model_that_leaves_its_range(make_model, blur_kernel):
    denoiser = Denoiser(make_model(2 * blur_kernel), "cpu")
    golden = np.frombuffer(denoiser.model.golden.denoised, np.float32)
    assert golden.max() > 1.1  # the writer clips nothing
    assert self_test(denoiser).passed
