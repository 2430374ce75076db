"""The service on FastAPI as a process of its own: real clients of the Open Inference Protocol, and hostile ones."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tritonclient.http as triton

from builders import peak_mb, random_pixels
from dae_runtime import Denoiser
from dae_runtime.images import decode, encode

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parents[2] / "examples" / "inference_server"
RECEIVE_S = 2
START = (
    f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import limits; limits.RECEIVE_S = {RECEIVE_S}; import app; app.main()"
)
PNG = encode(random_pixels((200, 200)), "png")


class Service(NamedTuple):
    """A running service."""

    process: subprocess.Popen[str]
    address: str
    log: Path

    def peak_mb(self) -> int:
        """Return the most memory that it ever had."""
        return peak_mb(self.process)

    def ask(self, method: str, path: str, body: bytes | str | None = None, **headers: str) -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def send(self, clients: int, sent: bytes, drip: bytes = b"") -> Counter[str]:
        """Return the statuses that many clients get who send this at once, and then a byte again and again."""

        async def one() -> str:
            reader, writer = await asyncio.open_connection(*self.address.split(":"))
            writer.write(sent)
            answer = asyncio.ensure_future(reader.read(12))
            while drip and not answer.done():
                await asyncio.sleep(0.2)
                writer.write(drip)
            try:
                received = await asyncio.wait_for(answer, 60)
            except ConnectionError:
                received = b""
            writer.close()
            return received[9:12].decode()

        async def everyone() -> list[str]:
            return await asyncio.gather(*(one() for _ in range(clients)))

        return Counter(asyncio.run(everyone()))


@pytest.fixture(scope="module")
def service(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("service") / "log"
    line = [sys.executable, "-c", START, str(model_file), "photo", "--port", "0", "--device", "cpu"]
    with log.open("wb") as errors, subprocess.Popen(line, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        try:
            assert process.stdout is not None
            yield Service(process, process.stdout.readline().rpartition("/")[2].strip(), log)
        finally:
            process.kill()


def post(body: bytes, length: object = None) -> bytes:
    size = len(body) if length is None else length
    return f"POST /denoise HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n".encode() + body


def test_an_image_comes_back_in_its_own_format(service, model_file):
    pixels = random_pixels((40, 60, 3))
    for kind in ("png", "tiff", "webp"):
        status, body = service.ask("POST", "/denoise?strength=0.5", encode(pixels, kind))
        assert status == 200
        image = decode(body)
        assert image.kind == kind
        if kind != "webp":
            np.testing.assert_array_equal(image.pixels, Denoiser(model_file, "cpu").denoise(pixels, strength=0.5))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("datatype", "dtype"), [("UINT8", np.uint8), ("FP32", np.float32), ("UINT16", np.uint16)])
def test_a_client_of_the_protocol_gets_what_the_runtime_gives(service, datatype, dtype, binary):
    rng = np.random.default_rng(0)
    noisy = (
        rng.random((2, 24, 33, 3), np.float32) if dtype is np.float32 else rng.integers(0, 200, (2, 24, 33, 3)).astype(dtype)
    )
    with triton.InferenceServerClient(service.address) as client:
        assert client.is_server_live()
        assert client.is_model_ready("photo")
        inputs = {entry["name"]: entry for entry in client.get_model_metadata("photo")["inputs"]}
        assert inputs["noisy"]["shape"] == [-1, -1, -1, 3]
        image, level = triton.InferInput("noisy", list(noisy.shape), datatype), triton.InferInput("sigma", [2, 1], "FP32")
        image.set_data_from_numpy(noisy, binary_data=binary)
        level.set_data_from_numpy(np.float32([[0.01], [0.05]]), binary_data=binary)
        output = triton.InferRequestedOutput("denoised", binary_data=binary)
        answer = client.infer("photo", [image, level], outputs=[output], request_id="mine")
    assert answer.get_response()["id"] == "mine"
    expected = Denoiser("photo", "cpu").denoise(noisy, sigma=[0.01, 0.05])
    assert answer.as_numpy("denoised").dtype == expected.dtype
    np.testing.assert_array_equal(answer.as_numpy("denoised"), expected)


def infer(**changes: object) -> str:
    tensor = {"name": "noisy", "shape": [2, 2], "datatype": "UINT8", "data": [1, 2, 3, 4]} | changes
    return json.dumps({"inputs": [{name: value for name, value in tensor.items() if value is not None}]})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (infer(), 200),
        (infer(data=[[1, 2], [3, 4]]), 200),
        ("", 400),
        ("{", 400),
        ("[]", 400),
        ("[" * 100_000, 400),
        (json.dumps({"inputs": []}), 400),
        (infer(name="other"), 400),
        (infer(name=["noisy"]), 400),
        (infer(datatype="FP64"), 400),
        (infer(shape=[2, 3]), 400),
        (infer(shape=[]), 400),
        (infer(shape=[2, -2]), 400),
        (infer(shape=[2, 2.0]), 400),
        (infer(shape=[2**40, 2**40]), 413),
        (infer(shape=[10_000, 1, 1, 1]), 413),
        (infer(data=[1, 2, 3, 300]), 400),
        (infer(data=[1, 2, 3, None]), 400),
        (infer(data=["a"] * 4), 400),
        (infer(data=[1, [2], 3, 4]), 400),
        (infer(data=None), 400),
        (infer(data=None, parameters={"binary_data_size": 4}), 400),
        (infer(data=None, parameters={"binary_data_size": -4}), 400),
        (infer(shape=[1, 2, 2, 9], data=[1] * 36), 422),
        (infer(datatype="FP32", data=[1, 2, 3, float("nan")]), 422),
    ],
)
def test_any_request_is_answered(service, body, status):
    received, text = service.ask("POST", "/v2/models/blur/infer", body)
    assert received == status, text
    assert json.loads(text)["outputs" if status == 200 else "error"]


@pytest.mark.parametrize("length", ["-1", "x", "9" * 30, "3"])
def test_any_length_of_the_json_part_is_answered(service, length):
    assert service.ask("POST", "/v2/models/blur/infer", infer(), Inference_Header_Content_Length=length)[0] == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/denoise", 422),
        ("/denoise?sigma=x", 400),
        ("/denoise?sigma=nan", 400),
        ("/denoise?sigma=256", 400),
        ("/denoise?luma=2", 400),
        ("/denoise?ensemble=3", 400),
        ("/denoise?depth=2", 400),
        ("/v2/models/none/infer", 404),
        ("/nowhere", 404),
        ("/v2", 405),
    ],
)
def test_failed_requests_are_reported(service, path, status):
    body = PNG if "?" in path else b"no image"
    received, text = service.ask("POST", path, body)
    assert received == status
    assert json.loads(text)["error"]


@pytest.mark.parametrize("length", ["9" * 5000, "9" * 15, "33554433", "1e3", "-1", ""])
def test_any_declared_length_is_answered(service, length):
    assert set(service.send(3, post(b"abc", length))) <= {"400", "413"}


def test_a_body_without_a_length_is_refused(service):
    chunked = b"POST /denoise HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    assert service.send(1, chunked) == {"411": 1}


def test_500_clients_at_once(service):
    service.send(2, post(PNG))
    before_mb = service.peak_mb()
    counts = service.send(500, post(PNG))
    assert set(counts) <= {"200", "503"}  # a slow machine asks some to come again
    assert counts["200"] > 50
    assert service.peak_mb() - before_mb < 200


@pytest.mark.parametrize(
    ("sent", "drip", "expected"),
    [
        (b"", b"", {""}),
        (b"POST /den", b"x", {""}),
        (b"POST /denoise HTTP/1.1\r\nX: ", b"y", {""}),
        (post(b"x", 20_000_000), b"", {"408", "503"}),
        (post(b"x", 20_000_000), b"x", {"408", "503"}),
    ],
    ids=["silent", "slow line", "slow header", "stalled body", "slow body"],
)
def test_slow_clients_take_neither_time_nor_memory(service, sent, drip, expected):
    before_mb, start = service.peak_mb(), time.monotonic()
    assert set(service.send(60, sent, drip)) == expected
    assert time.monotonic() - start < RECEIVE_S + 20
    assert service.peak_mb() - before_mb < 40
    assert service.send(1, post(PNG)) == {"200": 1}


def test_more_clients_than_it_takes_are_told_to_come_again(service):
    host, port = service.address.split(":")
    waiting = [socket.create_connection((host, int(port))) for _ in range(600)]
    try:
        with socket.create_connection((host, int(port))) as late:
            answer = late.recv(1000)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: " in answer
    finally:
        for client in waiting:
            client.close()


def test_metrics_count(service):
    def answered() -> float:
        text = service.ask("GET", "/metrics")[1].decode()
        return float(re.search(r'^dae_requests_total\{route="/denoise",status="200"\} (.+)$', text, re.M)[1])

    service.ask("POST", "/denoise", PNG)
    before = answered()
    service.ask("POST", "/denoise", PNG)
    assert answered() == before + 1
    assert service.log.read_bytes() == b""  # none of the tests before made it complain


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_after_the_requests_that_it_has(model_file, number):
    line = [sys.executable, "-c", START, str(model_file), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        host, port = process.stdout.readline().rpartition("/")[2].strip().split(":")
        with socket.create_connection((host, int(port))) as client, client.makefile("rb") as answer:
            client.sendall(post(encode(random_pixels((2000, 2000)), "png")))
            time.sleep(0.3)
            os.kill(process.pid, number)
            assert answer.read().startswith(b"HTTP/1.1 200 OK")
        assert process.wait(30) in (0, -number)  # uvicorn passes the signal on, when it is done
        assert "Traceback" not in process.stderr.read()


def test_the_load_test_tells_how_long_clients_wait(service, tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    line = [sys.executable, str(FOLDER / "load_test.py"), f"http://{service.address}", str(tmp_path / "a.png")]
    done = subprocess.run([*line, "--clients", "4", "--seconds", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"p50 \d+ ms, p99 \d+ ms", done.stdout)


def test_models_of_one_name_end_in_one_line(model_file):
    line = [sys.executable, str(FOLDER / "app.py"), str(model_file), str(model_file)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "name of its own" in done.stderr
