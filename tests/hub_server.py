"""A server that speaks the protocol of the Hugging Face Hub as far as one file is loaded, with its failures."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """What the server holds for one name."""

    files: Mapping[str, bytes]
    refused: tuple[int, str] | None = None
    """Status and error code of each answer."""
    told_bytes: int | None = None
    """Size told instead of the true one."""
    told_sha256: str | None = None
    cut_at: int | None = None
    """Byte at which the connection breaks."""
    elsewhere: str | None = None
    """Address of another host that holds the content."""


@dataclass
class Hub:
    """A running server."""

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    seen: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and authorization of each request."""


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, status: int, body: bytes = b"", headers: Mapping[str, object] = {}) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": len(body), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self) -> None:
            hub.seen.append((self.command, self.path, self.headers.get("Authorization")))
            parts = self.path.partition("?")[0].strip("/").split("/")
            name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
            repository = hub.repositories.get(name)
            if repository is None:
                self.answer(404, headers={"X-Error-Code": "RepoNotFound"})
            elif repository.refused is not None:
                self.answer(repository.refused[0], headers={"X-Error-Code": repository.refused[1]})
            elif (parts[5] if parts[0] == "api" else parts[3]) not in ("main", COMMIT):
                self.answer(404, headers={"X-Error-Code": "RevisionNotFound"})
            elif parts[0] == "api":
                found = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in repository.files]}
                self.answer(200, json.dumps(found).encode(), {"Content-Type": "application/json"})
            else:
                self.send_file(repository, "/".join(parts[4:]))

        do_HEAD = do_GET

        def send_file(self, repository: Repository, name: str) -> None:
            if name not in repository.files:
                self.answer(404, headers={"X-Error-Code": "EntryNotFound"})
                return
            content = repository.files[name]
            digest = repository.told_sha256 or hashlib.sha256(content).hexdigest()
            size = len(content) if repository.told_bytes is None else repository.told_bytes
            headers: dict[str, object] = {"X-Repo-Commit": COMMIT, "X-Linked-Size": size, "X-Linked-Etag": f'"{digest}"'}
            if repository.elsewhere is not None:
                self.answer(302, headers={**headers, "Location": f"{repository.elsewhere}{self.path}"})
                return
            headers["ETag"] = f'"{digest}"'
            if repository.cut_at is not None and self.command == "GET":
                headers["Content-Length"] = len(content)
                content = content[: repository.cut_at]
                self.close_connection = True
            self.answer(200, content, headers)

    return Handler


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a server on a free port of this machine."""
    hub = Hub("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
