"""A web service that denoises images, with nothing but the standard library around the toolkit.

python examples/service.py model.onnx --port 8000
curl --data-binary @noisy.png http://127.0.0.1:8000/denoise > clean.png

`make_app` returns a plain WSGI application, so gunicorn, uWSGI or mod_wsgi can serve it too. One Denoiser serves all threads:
it is thread-safe, and a second one would only take more memory. A server may fork its workers after the Denoiser was made, if
no image was read or written before: on the CPU each opens the model anew by itself; on a GPU make the app in the worker.

Nobody is left waiting: every wait has an end, everything that a client can ask for has a limit, and who comes while all is
taken is told to come again (503 with Retry-After).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer, make_server

from dae_runtime import DaeError, Denoiser
from dae_runtime.images import Image, decode, encode

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 50_000_000
MAX_AT_ONCE = 2
"""Images in memory at once; more requests wait. The engine uses every CPU for one image already."""
MAX_BYTES_AT_ONCE = 4 * MAX_BYTES
"""Of all requests together; more are refused, before they are read."""
MAX_WAIT_S = 20
"""For the images of others to be done."""
MAX_CLIENTS = 600
"""Each has a thread, which takes about 0.1 MB while it waits."""
RECEIVE_S = 30
"""For a client to send all of its request."""
SEND_S = 30
"""For a client to take the answer."""
STOP_S = 10
"""For requests to be answered when the service stops."""
RETRY_AFTER_S = 2

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
BUSY = "503 Service Unavailable"


class Refused(Exception):
    """A request that is answered with an error: status and text."""


class Room:
    """Limits the total of what several threads hold."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, amount: int, wait_s: float = 0) -> Iterator[None]:
        """Hold an amount within the block.

        Raises:
            Refused: It is not free within `wait_s`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: amount <= self._free, wait_s):
                raise Refused(BUSY, f"too many requests; try again in {RETRY_AFTER_S} s.")
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()


def make_app(denoiser: Denoiser, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> App:
    """Return a WSGI application.

    POST /denoise takes an image file and returns one of the same format; GET /model returns JSON about the model.

    Args:
        denoiser: Shared by all requests.
        max_bytes: Larger requests are refused before they are read.
        max_pixels: Larger images are refused before they are decoded.
    """
    bodies, images = Room(max(max_bytes, MAX_BYTES_AT_ONCE)), Room(MAX_AT_ONCE)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, kind = "200 OK", "application/json"
        try:
            route = environ["REQUEST_METHOD"], environ["PATH_INFO"]
            if query := environ.get("QUERY_STRING"):  # else the client would expect what is not done
                raise Refused("400 Bad Request", f"unknown parameters: {query[:200]}. This service takes none.")
            if route == ("GET", "/model"):
                body = describe(denoiser)
            elif route == ("POST", "/denoise"):
                length = body_length(environ, max_bytes)
                with bodies.hold(length):
                    data = read_body(environ, length)
                    with images.hold(1, MAX_WAIT_S):
                        body, kind = denoise_file(denoiser, data, max_pixels)
            else:
                raise Refused("404 Not Found", "POST an image to /denoise, or GET /model.")
        except Refused as error:
            status, body = error.args[0], json.dumps({"error": error.args[1]}).encode()
        except DaeError as error:  # its text says what is wrong with the image and what to do
            status, body = "422 Unprocessable Content", json.dumps({"error": str(error)}).encode()
        except MemoryError:
            status, body = BUSY, b'{"error": "out of memory"}'
        retry = [("Retry-After", str(RETRY_AFTER_S))] if status == BUSY else []
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body))), *retry])
        return [body]

    return app


def denoise_file(denoiser: Denoiser, data: bytes, max_pixels: int) -> tuple[bytes, str]:
    """Denoise the content of an image file; return that of the new one and its media type."""
    decoded = decode(data, max_pixels)
    image = Image(decoded.pixels, decoded.metadata, decoded.pages, decoded.kind)
    clean = image.with_pixels(denoiser.denoise(image.page_pixels))
    media = "image/x-portable-anymap" if image.kind == "pnm" else f"image/{image.kind}"
    return encode(clean.pixels, clean.kind, clean.metadata, pages=clean.pages), media


def describe(denoiser: Denoiser) -> bytes:
    """Return what the model says about itself, and where it runs, as JSON."""
    model = denoiser.model
    facts = {"name": model.name, "channels": model.channels, "precision": model.precision, "noise": model.noise}
    return json.dumps({**facts, "device": denoiser.device}).encode()


def body_length(environ: dict[str, Any], max_bytes: int) -> int:
    """Return the declared length of a request's body.

    Raises:
        Refused: It is not told, or too large.
    """
    text = environ.get("CONTENT_LENGTH") or ""
    if not text.isascii() or not text.isdigit():
        raise Refused("411 Length Required", "Content-Length is needed.")
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(max_bytes)) or int(digits) > max_bytes:  # Python reads no number of thousands of digits
        raise Refused("413 Content Too Large", f"at most {max_bytes} bytes are taken.")
    return int(digits)


def read_body(environ: dict[str, Any], length: int) -> bytes:
    """Read a request's body as it comes, so that a client that sends nothing takes no memory.

    Raises:
        Refused: It ends early, or does not come in time.
    """
    body = bytearray()
    try:
        while len(body) < length and (part := environ["wsgi.input"].read(min(2**16, length - len(body)))):
            body += part
    except OSError as error:
        raise Refused("408 Request Timeout", "the request did not come in time.") from error
    if len(body) < length:
        raise Refused("400 Bad Request", "the request ended early.")
    return bytes(body)


class _TimedInput(socket.SocketIO):
    """What a client sends, all of it within `RECEIVE_S`: a timeout of each part alone would let one come byte by byte."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection, "r")
        self._connection, self._end_s = connection, time.monotonic() + RECEIVE_S

    def readinto(self, buffer: Any) -> int | None:
        """Read into a buffer; after the time the client counts as gone."""
        self._connection.settimeout(max(self._end_s - time.monotonic(), 0.001))
        try:
            return super().readinto(buffer)
        finally:
            self._connection.settimeout(SEND_S)  # for an answer as a whole


class _Answer(ServerHandler):
    def log_exception(self, exc_info: Any) -> None:
        """Log a fault of ours, not clients that have gone."""
        if not isinstance(exc_info[1], OSError):
            super().log_exception(exc_info)


class QuietHandler(WSGIRequestHandler):
    """One request within `RECEIVE_S` and one answer; clients that send nothing, or go, are not logged."""

    def setup(self) -> None:
        """Prepare to read with an end."""
        super().setup()
        self.rfile = io.BufferedReader(_TimedInput(self.connection))

    def handle(self) -> None:
        """Answer one request."""
        with contextlib.suppress(OSError):
            self.raw_requestline = self.rfile.readline(65537)
            if len(self.raw_requestline) > 65536:
                self.requestline = self.request_version = self.command = ""
                self.send_error(414)
            elif self.parse_request():
                answer = _Answer(self.rfile, self.wfile, sys.stderr, self.get_environ(), multithread=True)
                answer.request_handler = self  # type: ignore[attr-defined]  # which wsgiref itself sets so
                answer.run(self.server.get_app())  # type: ignore[attr-defined]
            self._take_rest()

    def _take_rest(self) -> None:
        """Read what the client still sends for a moment: an answer to a closed connection may be lost."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        end_s = time.monotonic() + 2
        self.connection.settimeout(0.5)
        while time.monotonic() < end_s and self.connection.recv(2**16):
            pass

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class ThreadedServer(WSGIServer):
    """One thread for each client, of whom there are `MAX_CLIENTS` at most; the next is refused at once."""

    request_queue_size = MAX_CLIENTS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._clients: set[threading.Thread] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a new thread."""
        self._clients = {thread for thread in self._clients if thread.is_alive()}
        if len(self._clients) >= MAX_CLIENTS:
            self._refuse(request)
            return
        thread = threading.Thread(target=self._answer, args=(request, client_address), daemon=True)
        self._clients.add(thread)
        thread.start()

    def stop(self) -> None:
        """Take no more requests, and wait for those that are being answered."""
        self.server_close()
        end_s = time.monotonic() + STOP_S
        for thread in self._clients:
            thread.join(max(end_s - time.monotonic(), 0))

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:  # the client has gone
            pass
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)

    def _refuse(self, request: Any) -> None:
        with contextlib.suppress(OSError):
            request.setblocking(False)
            request.send(f"HTTP/1.0 {BUSY}\r\nRetry-After: {RETRY_AFTER_S}\r\nContent-Length: 0\r\n\r\n".encode())
        self.shutdown_request(request)


def main() -> None:
    """Serve until interrupted; SIGTERM counts as an interruption."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        denoiser = Denoiser(options.model, options.device)
        server = make_server(options.host, options.port, make_app(denoiser), ThreadedServer, QuietHandler)
    except DaeError as error:
        parser.exit(2, f"error: {error}\n")
    except (OSError, OverflowError) as error:
        parser.exit(2, f"error: {options.host}:{options.port} cannot be used: {error}. Give another --port or --host.\n")
    with denoiser:
        print(f"{denoiser.model.name} on {denoiser.device}: http://{options.host}:{server.server_port}/denoise", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
        server.stop()


if __name__ == "__main__":
    main()
