"""The real Triton server loads the folders of `--for triton` as they are, and its pictures are those of the runtime.

The server is that of nvidia-pytriton, in a folder of its own: it wants NumPy 1. It comes with the backend `python` and without
`onnxruntime`, for which triton_onnxruntime.py stands in.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest

from dae_export import ExportOptions, export_for
from dae_runtime import Denoiser
from hosts.conftest import SIGMA, agreement_db, picture

pytestmark = pytest.mark.network

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
START_S = 120
LARGEST_BATCH = 8
REQUESTS = 16
ROUNDS = 20


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A repository of models: `photo` in each precision, and one that finds the noise itself."""
    folder = tmp_path_factory.mktemp("models")
    for options in (ExportOptions(), ExportOptions(dtype="fp16"), ExportOptions(quantize=True)):
        export_for("triton", "photo", folder, options)
    export_for("triton", "gray-25", folder, ExportOptions(quantize=True))
    return folder


@pytest.fixture(scope="module")
def server(models, tmp_path_factory) -> Iterator[tuple[str, str]]:
    """The addresses of a running server, HTTP and gRPC, which takes configurations as they are."""
    pytest.importorskip("tritonclient")
    folder = tmp_path_factory.mktemp("triton")
    _install(folder)
    home = folder / "pytriton" / "tritonserver"
    with ExitStack() as sockets:
        bound = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        ports = [each.getsockname()[1] for each in bound]
    command = [
        home / "bin" / "tritonserver",
        f"--model-repository={models}",
        f"--backend-directory={home / 'backends'}",
        "--disable-auto-complete-config",
        "--allow-metrics=false",
        *("--http-address=127.0.0.1", f"--http-port={ports[0]}"),
        *("--grpc-address=127.0.0.1", f"--grpc-port={ports[1]}"),
    ]
    library = os.pathsep.join(filter(None, [sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH")]))
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("platlib"), "LD_LIBRARY_PATH": library}
    log = folder / "server.log"
    with (
        log.open("wb") as output,
        subprocess.Popen([*map(str, command)], env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            _await_ready(process, f"127.0.0.1:{ports[0]}", log)
            yield f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}"
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def _install(folder: Path) -> None:
    """Install the server, with the backends `python` of this interpreter and `onnxruntime`."""
    if find_library(f"python{PYTHON}") is None and not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        pytest.skip(f"Triton needs libpython{PYTHON}.so, which this machine lacks")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*install, "--target", folder, "nvidia-pytriton==0.7.0"], check=True)
    home = folder / "pytriton" / "tritonserver"
    stub = home / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"
    if not stub.is_file():
        pytest.skip(f"nvidia-pytriton has no interpreter of Python {PYTHON}")
    shutil.copy(stub, home / "backends" / "python")
    backend = home / "backends" / "onnxruntime"
    backend.mkdir()
    shutil.copy(Path(__file__).with_name("triton_onnxruntime.py"), backend / "model.py")


def _await_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    import tritonclient.http

    deadline = time.monotonic() + START_S
    with tritonclient.http.InferenceServerClient(address) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if client.is_server_ready():
                    return
            except OSError:  # it does not listen yet
                time.sleep(0.2)
    pytest.fail(f"the server did not start:\n{log.read_text('utf-8', 'replace')}")


def _inputs(kind, noisy: np.ndarray, sigma: np.ndarray | None) -> list:
    """Return the inputs of a request to a client module: images (N, C, H, W), levels (N, 1)."""
    arrays = {"noisy": np.ascontiguousarray(noisy), **({} if sigma is None else {"sigma": sigma})}
    inputs = [kind.InferInput(name, array.shape, "FP32") for name, array in arrays.items()]
    for tensor, array in zip(inputs, arrays.values(), strict=True):
        tensor.set_data_from_numpy(array)
    return inputs


def _expected(model: str, noisy: np.ndarray, sigma: float | None) -> np.ndarray:
    """Return what the runtime makes of one image (C, H, W), in the same layout."""
    planes = noisy.transpose(1, 2, 0)
    clean = Denoiser(model, "cpu").denoise(planes if len(noisy) == 3 else planes[..., 0], sigma=sigma)
    return clean.reshape(planes.shape).transpose(2, 0, 1)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("name", ["photo", "photo-fp16", "photo-int8", "gray-25-int8"])
def test_the_picture_from_the_server_is_that_of_the_runtime(name, protocol, server):
    kind = pytest.importorskip(f"tritonclient.{protocol}")
    model = "photo" if name.startswith("photo") else "gray-25"
    level = SIGMA if model == "photo" else None
    with kind.InferenceServerClient(server[protocol == "grpc"]) as client:
        for height, width in ((1, 1), (61, 83), (200, 301)):
            noisy = picture(height, width, 3 if model == "photo" else 1).transpose(2, 0, 1)
            sigma = None if level is None else np.full((1, 1), level, np.float32)
            received = client.infer(name, _inputs(kind, noisy[None], sigma)).as_numpy("denoised")[0]
            expected = _expected(model, noisy, level)
            if name.endswith("int8"):
                assert np.array_equal(np.clip(received, 0, 1), expected)
            else:
                assert agreement_db(received, expected) > 40


def test_a_batch_has_a_level_for_each_image(server):
    import tritonclient.http

    scales = np.linspace(0.3, 1, LARGEST_BATCH, dtype=np.float32)
    noisy = picture(61, 83, 3).transpose(2, 0, 1) * scales[:, None, None, None]
    levels = np.linspace(1, 19, LARGEST_BATCH, dtype=np.float32)[:, None] / 255
    with tritonclient.http.InferenceServerClient(server[0]) as client:
        received = client.infer("photo-int8", _inputs(tritonclient.http, noisy, levels)).as_numpy("denoised")
    for image, source, level in zip(received, noisy, levels[:, 0], strict=True):
        assert np.array_equal(np.clip(image, 0, 1), _expected("photo", source, float(level)))


@pytest.mark.parametrize(("images", "told", "message"), [(9, True, "must be <= 8"), (1, False, "required input.*sigma")])
def test_what_the_configuration_forbids_is_refused(images, told, message, server):
    import tritonclient.http

    noisy = np.zeros((images, 3, 8, 8), np.float32)
    inputs = _inputs(tritonclient.http, noisy, np.zeros((images, 1), np.float32) if told else None)
    with (
        tritonclient.http.InferenceServerClient(server[0]) as client,
        pytest.raises(tritonclient.http.InferenceServerException, match=message),
    ):
        client.infer("photo", inputs)


def test_requests_of_several_sizes_at_once_are_gathered_by_size(server):
    """Each gets its own picture, and the server runs the network less often than it is asked."""
    import tritonclient.grpc

    images = [picture(height, width, 1).transpose(2, 0, 1) for height, width in ((240, 320), (200, 300))]
    expected = [_expected("gray-25", image, None) for image in images]
    with tritonclient.grpc.InferenceServerClient(server[1]) as client, ThreadPoolExecutor(REQUESTS) as pool:

        def ask(index: int) -> bool:
            inputs = _inputs(tritonclient.grpc, images[index][None], None)
            received = client.infer("gray-25-int8", inputs).as_numpy("denoised")[0]
            return np.array_equal(np.clip(received, 0, 1), expected[index])

        for _ in range(ROUNDS):
            assert all(pool.map(ask, (0, 1) * (REQUESTS // 2)))
            (counts,) = client.get_inference_statistics("gray-25-int8", as_json=True)["model_stats"]
            if int(counts["execution_count"]) < int(counts["inference_count"]):
                return
    pytest.fail(f"no two of {ROUNDS * REQUESTS} requests shared a run")
