"""A web service that denoises images, with nothing but the standard library around the toolkit.

python examples/service.py model.onnx --port 8000
curl --data-binary @noisy.png http://127.0.0.1:8000/denoise > clean.png

`make_app` returns a plain WSGI application, so gunicorn, uWSGI or mod_wsgi can serve it too. One Denoiser serves all threads:
it is thread-safe, and a second one would only take more memory. A server may fork its workers after the Denoiser was made: on
the CPU each opens the model anew by itself; on a GPU make the app in the worker.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from threading import BoundedSemaphore
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from dae_runtime import DaeError, Denoiser
from dae_runtime.images import Image, decode, encode

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 50_000_000
MAX_AT_ONCE = 4
"""Images in memory at once; more requests wait. The engine uses every CPU for one image already."""

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Refused(Exception):
    """A request that is answered with an error: status and text."""


def make_app(denoiser: Denoiser, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> App:
    """Return a WSGI application.

    POST /denoise takes an image file and returns one of the same format; GET /model returns JSON about the model.

    Args:
        denoiser: Shared by all requests.
        max_bytes: Larger requests are refused before they are read.
        max_pixels: Larger images are refused before they are decoded.
    """
    room = BoundedSemaphore(MAX_AT_ONCE)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, kind = "200 OK", "application/json"
        try:
            route = environ["REQUEST_METHOD"], environ["PATH_INFO"]
            if route == ("GET", "/model"):
                body = describe(denoiser)
            elif route == ("POST", "/denoise"):
                data = read_body(environ, max_bytes)
                with room:
                    body, kind = denoise_file(denoiser, data, max_pixels)
            else:
                raise Refused("404 Not Found", "POST an image to /denoise, or GET /model.")
        except Refused as error:
            status, body = error.args[0], json.dumps({"error": error.args[1]}).encode()
        except DaeError as error:  # its text says what is wrong with the image and what to do
            status, body = "422 Unprocessable Content", json.dumps({"error": str(error)}).encode()
        except MemoryError:
            status, body = "503 Service Unavailable", b'{"error": "out of memory"}'
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
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


def read_body(environ: dict[str, Any], max_bytes: int) -> bytes:
    """Read a request's body of a declared length.

    Raises:
        Refused: The length is not told, is too large, or is more than what comes.
    """
    text = environ.get("CONTENT_LENGTH") or ""
    if not text.isascii() or not text.isdigit():
        raise Refused("411 Length Required", "Content-Length is needed.")
    length = int(text)
    if length > max_bytes:
        raise Refused("413 Content Too Large", f"at most {max_bytes} bytes are taken.")
    data: bytes = environ["wsgi.input"].read(length)
    if len(data) < length:
        raise Refused("400 Bad Request", "the request ended early.")
    return data


class ThreadedServer(ThreadingMixIn, WSGIServer):
    """One thread for each request."""

    daemon_threads = True


class QuietHandler(WSGIRequestHandler):
    """Gives up on clients that send nothing for a while, and does not log each request."""

    timeout = 30

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    with Denoiser(options.model, options.device) as denoiser:
        app = make_app(denoiser)
        with make_server(options.host, options.port, app, ThreadedServer, QuietHandler) as server:
            print(
                f"{denoiser.model.name} on {denoiser.device}: http://{options.host}:{server.server_port}/denoise", flush=True
            )
            server.serve_forever()


if __name__ == "__main__":
    main()
