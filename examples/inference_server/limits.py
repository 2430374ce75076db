"""Limits of the service: bytes, pixels, clients, time; and the server that keeps them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI, Request
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_BYTES = 32 * 2**20
"""Of a request."""
MAX_BYTES_AT_ONCE = 4 * MAX_BYTES
"""Of all requests together; more are refused before they are read."""
MAX_PIXELS = 50_000_000
MAX_AT_ONCE = 2
"""Images in work at once. The engine uses every CPU for one image already; a second one hides reading and writing."""
MAX_WAIT_S = 20.0
"""For the images of others to be done."""
MAX_CLIENTS = 600
BACKLOG = 1024
RECEIVE_S = 30.0
"""For a client to send its request line and headers, and again for its body."""
STOP_S = 10
"""For requests to be answered when the service stops."""
RETRY_AFTER_S = 2
BUSY = f"too many requests; try again in {RETRY_AFTER_S} s."


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status, self.text = status, text


class Gate:
    """Bounds what all requests hold together: bytes, and images in work."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self._free_bytes = MAX_BYTES_AT_ONCE

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Hold a place for one image within the block.

        Raises:
            Refused: None is free within `MAX_WAIT_S`.
        """
        try:
            await asyncio.wait_for(self._places.acquire(), MAX_WAIT_S)
        except TimeoutError:
            raise Refused(503, BUSY) from None
        try:
            yield
        finally:
            self._places.release()

    @contextlib.contextmanager
    def hold_bytes(self, count: int) -> Any:
        """Hold bytes within the block.

        Raises:
            Refused: They are not free.
        """
        if count > self._free_bytes:
            raise Refused(503, BUSY)
        self._free_bytes -= count
        try:
            yield
        finally:
            self._free_bytes += count


@contextlib.asynccontextmanager
async def read_body(request: Request, gate: Gate) -> AsyncIterator[bytes]:
    """Hold the body of a request, and its bytes, within the block.

    Raises:
        Refused: It is too long, has no length, or does not arrive in time.
    """
    text = request.headers.get("content-length")
    if text is None:
        raise Refused(411, "the Content-Length of the request is needed.")
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(MAX_BYTES)) or int(digits) > MAX_BYTES:
        raise Refused(413, f"a request has at most {MAX_BYTES} bytes.")
    with gate.hold_bytes(int(digits)):
        body = bytearray()
        try:
            async with asyncio.timeout(RECEIVE_S):
                async for part in request.stream():
                    body += part
        except TimeoutError:
            raise Refused(408, f"the request did not arrive within {RECEIVE_S:g} s.") from None
        yield bytes(body)


class Protocol(H11Protocol):
    """HTTP that waits for a request only so long, and answers too many clients at once."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Watch a new connection, or refuse it."""
        super().connection_made(transport)
        self._waiting_since: float | None = time.monotonic()
        if len(self.connections) > MAX_CLIENTS:
            transport.write(
                b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n"
                b"Retry-After: %d\r\n\r\n" % RETRY_AFTER_S
            )
            transport.close()
            return
        self._watch()

    def _watch(self) -> None:
        """Close the connection of a client that has sent only a part of a request line and headers, or nothing."""
        if self.transport.is_closing():
            return
        now = time.monotonic()
        if self.conn.their_state is not h11.IDLE:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        elif now - self._waiting_since > RECEIVE_S:
            self.transport.abort()
            return
        asyncio.get_running_loop().call_later(min(RECEIVE_S / 4, 1), self._watch)


class Server(uvicorn.Server):
    """Says where it listens, once it does."""

    async def startup(self, sockets: Any = None) -> None:
        """Listen."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            print(f"listening on http://{host}:{port}", flush=True)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; OSError if the port is taken, OverflowError if there is no such port."""
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG)


def serve(app: FastAPI, listening: socket.socket, stop_s: int) -> None:
    """Serve until SIGINT or SIGTERM, and finish what was begun."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=stop_s,
    )
    with contextlib.suppress(KeyboardInterrupt):
        Server(config).run([listening])
