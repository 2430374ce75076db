"""The web service under clients who are many, slow, silent or hostile; real processes and sockets."""

from __future__ import annotations

import asyncio
import collections
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from builders import peak_mb, random_pixels
from dae_runtime.images import decode, encode

pytestmark = pytest.mark.slow
SERVICE = Path(__file__).parents[2] / "examples" / "service.py"
RECEIVE_S = 2
START = (
    f"import sys; sys.path.insert(0, {str(SERVICE.parent)!r}); import service; service.RECEIVE_S = {RECEIVE_S}; service.main()"
)
PNG = encode(random_pixels((200, 200)), "png")


class Service(NamedTuple):
    """A running service."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    def peak_mb(self) -> int:
        """Return the most memory that it ever had."""
        return peak_mb(self.process)

    def ask(self, clients: int, sent: bytes, drip: bytes = b"") -> list[bytes]:
        """Return what each of many clients gets who send this at once, and then a byte again and again."""
        return asyncio.run(self._ask(clients, sent, drip))

    async def _ask(self, clients: int, sent: bytes, drip: bytes) -> list[bytes]:
        async def one() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(sent)
            answer = asyncio.ensure_future(reader.read())
            while drip and not answer.done():
                await asyncio.sleep(0.2)
                writer.write(drip)
            received = await asyncio.wait_for(answer, 60)
            writer.close()
            return received

        return await asyncio.gather(*(one() for _ in range(clients)))


@pytest.fixture
def service(model_file: Path, tmp_path: Path) -> Iterator[Service]:
    log = tmp_path / "log"
    command = [sys.executable, "-c", START, str(model_file), "--port", "0", "--device", "cpu"]
    with log.open("wb") as errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        try:
            assert process.stdout is not None
            yield Service(process, urlsplit(process.stdout.readline().split()[-1]).port or 0, log)
        finally:
            process.kill()


def post(body: bytes, length: object = None) -> bytes:
    return f"POST /denoise HTTP/1.0\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def statuses(answers: list[bytes]) -> collections.Counter[str]:
    return collections.Counter(answer[9:12].decode() for answer in answers)


def test_500_clients_at_once(service):
    before_mb = service.peak_mb()
    answers = service.ask(500, post(PNG))
    counts = statuses(answers)
    assert set(counts) <= {"200", "503"}  # a slow machine may ask some to come again
    assert counts["200"] > 50
    for answer in answers:
        head, _, body = answer.partition(b"\r\n\r\n")
        if answer[9:12] == b"200":
            assert decode(body).pixels.shape == (200, 200)
        else:
            assert b"\r\nRetry-After: " in head
    assert service.peak_mb() - before_mb < 200
    assert service.log.read_bytes() == b""


def test_more_clients_than_threads_are_told_to_come_again(service):
    waiting = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(600)]
    try:
        with socket.create_connection(("127.0.0.1", service.port)) as late:
            assert late.recv(1000).startswith(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: ")
    finally:
        for client in waiting:
            client.close()
    time.sleep(0.5)
    assert statuses(service.ask(1, post(PNG))) == {"200": 1}


@pytest.mark.parametrize(
    ("sent", "drip", "expected"),
    [
        (b"", b"", {""}),
        (b"POST /den", b"x", {""}),
        (b"POST /denoise HTTP/1.0\r\nX: ", b"y", {""}),
        (post(b"x", 20_000_000), b"", {"408", "503"}),
        (post(b"x", 20_000_000), b"x", {"408", "503"}),
    ],
    ids=["silent", "slow line", "slow header", "stalled body", "slow body"],
)
def test_slow_clients_take_neither_time_nor_memory_nor_log(service, sent, drip, expected):
    before_mb, start = service.peak_mb(), time.monotonic()
    counts = statuses(service.ask(60, sent, drip))
    assert set(counts) == expected
    assert time.monotonic() - start < RECEIVE_S + 15
    assert service.peak_mb() - before_mb < 40
    assert service.log.read_bytes() == b""
    assert statuses(service.ask(1, post(PNG))) == {"200": 1}


@pytest.mark.parametrize(
    ("length", "status"), [("9" * 5000, "413"), ("0" * 5000 + "3", "422"), ("1e3", "411"), ("", "411"), ("33554433", "413")]
)
def test_any_declared_length_is_answered(service, length, status):
    assert statuses(service.ask(3, post(b"abc", length))) == {status: 3}
    assert service.log.read_bytes() == b""


def test_clients_that_go_are_not_logged(service):
    for sent in (b"", b"POST", post(b"x", 1000), post(PNG), post(PNG)):
        with socket.create_connection(("127.0.0.1", service.port)) as client:
            client.sendall(sent)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # a reset, not an end
    assert statuses(service.ask(4, post(PNG))) == {"200": 4}
    assert service.log.read_bytes() == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_after_the_requests_that_it_has(service, number):
    body = encode(random_pixels((2000, 2000)), "png")
    with socket.create_connection(("127.0.0.1", service.port)) as client, client.makefile("rb") as answer:
        client.sendall(post(body))
        time.sleep(0.3)
        os.kill(service.process.pid, number)
        assert answer.read().startswith(b"HTTP/1.0 200 OK")
    assert service.process.wait(10) == 0
    assert service.log.read_bytes() == b""


PREFORK = f"""
import os, sys
sys.path.insert(0, {str(SERVICE.parent)!r})
import service
from wsgiref.simple_server import make_server
denoiser = service.Denoiser(sys.argv[1], "cpu")
for path in sys.argv[2:]:
    service.denoise_file(denoiser, open(path, "rb").read(), 10**6)
server = make_server("127.0.0.1", 0, service.make_app(denoiser), service.ThreadedServer, service.QuietHandler)
print(server.server_port, flush=True)
children = []
for _ in range(2):
    children.append(os.fork())
    if not children[-1]:
        server.serve_forever()
os.wait()
"""


@pytest.mark.parametrize("warm", [False, True])
def test_workers_that_are_forked_after_loading(tmp_path, model_file, warm):
    """What a server with preloading does, such as gunicorn --preload, also of an app that tries an image first."""
    (tmp_path / "a.png").write_bytes(PNG)
    command = [sys.executable, "-W", "ignore", "-c", PREFORK, str(model_file), *([str(tmp_path / "a.png")] if warm else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            served = Service(process, int(process.stdout.readline()), Path(os.devnull))
            assert statuses(served.ask(40, post(PNG))) == {"200": 40}
        finally:
            os.killpg(process.pid, signal.SIGKILL)
