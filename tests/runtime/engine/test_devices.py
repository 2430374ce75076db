"""Devices: named, chosen, and refused with the reason."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest

from dae_runtime import Denoiser, DeviceError, InputError, ModelError
from dae_runtime.engine import session as engine
from dae_runtime.engine.devices import PROVIDERS, Device, available_devices, cuda_obstacle, library_error, parse_device

NO_GPU = cuda_obstacle(onnxruntime)
without_gpu = pytest.mark.skipif(NO_GPU is None, reason="a GPU is present")


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
    with pytest.raises(DeviceError, match="runs none of the model's 5 operations"):
        engine._check_share(session, Device("xnnpack"))
    counts["XnnpackExecutionProvider"] = 1
    engine._check_share(session, Device("xnnpack"))


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
