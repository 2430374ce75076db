from __future__ import annotations

import logging
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from dae_runtime import Denoiser, DeviceError, InputError, ModelError
from dae_runtime.contract import from_json, to_json
from dae_runtime.diagnosis.self_test import self_test
from dae_runtime.engine import session as engine
from dae_runtime.engine.devices import PROVIDERS, Device, available_devices, cuda_obstacle, library_error, parse_device
from dae_runtime.system.processor import available_cpus

NO_GPU = cuda_obstacle(onnxruntime)
without_gpu = pytest.mark.skipif(NO_GPU is None, reason="a GPU is present")
with_gpu = pytest.mark.skipif(NO_GPU is not None, reason=f"needs a GPU: {NO_GPU}")


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("auto", Device("auto")),
        ("cpu", Device("cpu")),
        ("cuda", Device("cuda", "0")),
        ("cuda:3", Device("cuda", "3")),
        ("xnnpack", Device("xnnpack")),
        ("directml", Device("directml", "0")),
        ("openvino:npu", Device("openvino", "npu")),
    ],
)
def test_device_names(name, parsed):
    assert parse_device(name) == parsed
    assert parse_device(str(parsed)) == parsed


@pytest.mark.parametrize(
    "name", ["gpu", "cuda:", "cuda:x", "CPU", "", "cpu:0", "cuda:-1", None, "xnnpack:0", "openvino:cuda", "auto:1"]
)
def test_unknown_devices_are_refused(name, blur_bytes):
    with pytest.raises(InputError, match=r"auto, cpu, cuda or cuda:N.*openvino"):
        Denoiser(blur_bytes, device=name)


def test_devices_as_onnxruntime_wants_them():
    assert Device("cpu").providers() == ["CPUExecutionProvider"]
    assert parse_device("openvino:gpu.1").providers() == [
        ("OpenVINOExecutionProvider", {"device_type": "GPU.1"}),
        "CPUExecutionProvider",
    ]
    names = [each[0] for each in parse_device("tensorrt:2").providers()[:-1]]
    assert names == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    assert all(options["device_id"] == "2" for _, options in parse_device("tensorrt:2").providers()[:-1])


def test_every_provider_of_onnxruntime_that_computes_has_a_name():
    remote_or_browser = {"AzureExecutionProvider", "JsExecutionProvider", "WebNNExecutionProvider", "VSINPUExecutionProvider"}
    assert set(onnxruntime.get_all_providers()) - remote_or_browser <= set(PROVIDERS.values())


@pytest.mark.parametrize("name", sorted(set(PROVIDERS) - {"cpu"}))
def test_a_device_that_this_onnxruntime_lacks_says_what_it_has(name, blur_bytes):
    if PROVIDERS[name] in onnxruntime.get_available_providers():
        assert name in available_devices(onnxruntime)
        return
    with pytest.raises(DeviceError, match=rf"cannot run on {name}.*the installed onnxruntime.* has no .*it has: .*cpu"):
        Denoiser(blur_bytes, device=name)


def test_a_device_that_takes_no_operation_is_refused(blur_bytes, monkeypatch):
    """A session may have started a device and still run everything on the CPU."""
    session = engine.open_session(blur_bytes, "cpu")
    counts = {"XnnpackExecutionProvider": 0, "CPUExecutionProvider": 5}

    def assignment():
        return [SimpleNamespace(ep_name=name, get_nodes=lambda n=n: [None] * n) for name, n in counts.items()]

    monkeypatch.setattr(session, "get_provider_graph_assignment_info", assignment)
    with pytest.raises(DeviceError, match="takes none of the model's 5 operations"):
        engine._check_share(session, Device("xnnpack"))
    counts["XnnpackExecutionProvider"] = 1
    engine._check_share(session, Device("xnnpack"))


@pytest.mark.parametrize("io_dtype", ["float32", "uint8"])
def test_bound_runs_equal_plain_ones(make_model, io_dtype):
    session = engine.open_session(make_model(io_dtype=io_dtype), "cpu", 1)
    for shape in ((1, 9, 7, 1), (3, 5, 11, 1), (1, 9, 7, 1)):
        batch = np.random.default_rng(0).integers(0, 256, shape).astype(io_dtype)
        bound = engine.run_bound(session, batch, "cpu", 0)
        np.testing.assert_array_equal(bound, engine.run_session(session, batch))
        assert bound.dtype == io_dtype


def test_no_telemetry_unless_it_is_asked_for(run_python, blur_file):
    code = (
        f"import os; from dae_runtime import Denoiser as D; D({str(blur_file)!r}); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    assert run_python("-c", code, env=environment).stdout.strip() == "1"
    assert run_python("-c", code, env={**environment, "ORT_DISABLE_TELEMETRY": "0"}).stdout.strip() == "0"


def test_threads_are_checked(blur_bytes):
    with pytest.raises(InputError, match="at least 1, not 0"):
        Denoiser(blur_bytes, threads=0)


@without_gpu
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_that_cannot_be_had_is_an_error_that_says_why(blur_bytes, device):
    with pytest.raises(
        DeviceError, match=r"cannot run on cuda:\d: (the installed onnxruntime.* has no CUDA|no NVIDIA driver)"
    ):
        Denoiser(blur_bytes, device=device)


@without_gpu
def test_auto_says_what_it_chose(blur_bytes, caplog):
    with caplog.at_level(logging.INFO, "dae_runtime"):
        assert Denoiser(blur_bytes, device="auto").device == "cpu"
    assert len(caplog.records) == 1
    assert "running on the CPU" in caplog.text


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_that_fails_to_load_is_noticed(blur_bytes, monkeypatch):
    """onnxruntime falls back to the CPU without an error when the CUDA libraries cannot be loaded."""
    monkeypatch.setattr(engine, "device_obstacle", lambda *_: None)
    monkeypatch.setattr(engine, "cuda_obstacle", lambda _: None)
    if NO_GPU is None:
        monkeypatch.setattr(Device, "provider", "AbsentExecutionProvider")
    with pytest.raises(DeviceError, match="could not start cuda:0"):
        engine.open_session(blur_bytes, "cuda")
    assert engine.session_device(engine.open_session(blur_bytes, "auto")) == "cpu"
    with pytest.raises(ModelError):  # a damaged model is not blamed on the device
        engine.open_session(blur_bytes[:300], "cuda")


@with_gpu
def test_cuda_gives_the_pixels_of_the_cpu(blur_bytes):
    gpu, cpu = Denoiser(blur_bytes, "cuda"), Denoiser(blur_bytes, "cpu")
    assert gpu.device == "cuda:0"
    assert Denoiser(blur_bytes, "auto").device == "cuda:0"
    image = np.random.default_rng(0).integers(0, 256, (50, 61, 3)).astype(np.uint8)
    assert np.abs(gpu.denoise(image).astype(int) - cpu.denoise(image)).max() <= 1
    assert self_test(gpu).passed


@with_gpu
@pytest.mark.parametrize("settings", [{"io_dtype": "uint8"}, {"size": (28, 28)}, {"channels": 3}], ids=str)
def test_cuda_runs_every_kind_of_model(make_model, settings):
    content = make_model(**settings)
    gpu, cpu = Denoiser(content, "cuda", max_memory_mb=2000), Denoiser(content, "cpu")
    assert self_test(gpu).passed
    images = [np.random.default_rng(n).integers(0, 256, (50, 60 + n % 2, 3)).astype(np.uint8) for n in range(6)]
    for image, clean in zip(images, gpu.stream(images), strict=True):
        assert np.abs(clean.astype(int) - cpu.denoise(image)).max() <= 1


@with_gpu
def test_cuda_in_tiles_and_without_numbers(make_model, blur_bytes):
    image = np.random.default_rng(0).random((500, 700), np.float32)
    whole, tiled = Denoiser(blur_bytes, "cuda").denoise(image), Denoiser(blur_bytes, "cuda", tile_px=128).denoise(image)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
    with pytest.raises(ModelError, match="NaN or infinite"):
        Denoiser(make_model(np.full((3, 3), np.nan, np.float32)), "cuda").denoise(image)


@with_gpu
def test_cuda_with_many_sizes_and_threads(blur_bytes):
    gpu, cpu = Denoiser(blur_bytes, "cuda"), Denoiser(blur_bytes, "cpu")
    images = [np.random.default_rng(n).integers(0, 256, (40 + n % 7, 61, 3)).astype(np.uint8) for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for image, clean in zip(images, pool.map(gpu.denoise, images), strict=True):
            assert np.abs(clean.astype(int) - cpu.denoise(image)).max() <= 1


@with_gpu
def test_cuda_after_fork_is_refused(blur_file, run_python):
    code = (
        "import os, numpy as np; from dae_runtime import Denoiser, DeviceError\n"
        f"d = Denoiser({str(blur_file)!r}, 'cuda'); x = np.zeros((8, 8), np.uint8); d.denoise(x)\n"
        "if os.fork() == 0:\n try: d.denoise(x)\n except DeviceError as e: print(e, flush=True)\nelse: os.wait()"
    )
    assert "does not survive fork" in run_python("-c", code).stdout


@with_gpu
def test_a_cuda_device_that_is_not_there(blur_bytes):
    with pytest.raises(DeviceError, match="cuda:99"):
        Denoiser(blur_bytes, "cuda:99")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libraries of Linux")
def test_the_library_of_a_device_is_loaded_only_where_its_host_is_known(tmp_path, run_python):
    """The real library of CUDA calls its host while it is loaded; without one that would be the end of the process."""
    capi = Path(onnxruntime.__file__).parent / "capi"
    (tmp_path / "capi").mkdir()
    for name in ("shared", "cuda"):
        target = tmp_path / "capi" / f"libonnxruntime_providers_{name}.so"
        shutil.copy(capi / "libonnxruntime_providers_shared.so", target)
    library = tmp_path / "capi" / "libonnxruntime_providers_cuda.so"
    absent = library.read_bytes().replace(b"libc.so.6\0", b"libX.so.6\0")  # a library that it needs
    library.write_bytes(absent)
    code = (
        "import ctypes, sys; from types import SimpleNamespace\n"
        "from dae_runtime.engine.devices import Device, library_error\n"
        f"engine = SimpleNamespace(__file__={str(tmp_path / '__init__.py')!r})\n"
        "print(library_error(engine, Device('cuda', '0')))\n"
        f"shared = ctypes.CDLL({str(tmp_path / 'capi' / 'libonnxruntime_providers_shared.so')!r})\n"
        "shared.Provider_SetHost(ctypes.c_void_p(1))\n"
        "print(library_error(engine, Device('cuda', '0')))"
    )
    before, after = run_python("-c", code).stdout.split("\n")[:2]
    assert before == ""
    assert after.startswith("libX.so.6: cannot open shared object file")
    assert library_error(onnxruntime, Device("coreml")) == ""  # has no library of its own


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
