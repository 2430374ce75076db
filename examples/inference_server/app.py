"""A denoising service on FastAPI: image files, the Open Inference Protocol, and metrics for Prometheus.

pip install 'edge-denoiser[cpu,service]'
python examples/inference_server/app.py --port 8000
curl --data-binary @noisy.png 'http://127.0.0.1:8000/denoise?sigma=8' > clean.png

POST /denoise takes an image file and returns one of the same format; `sigma` (0 to 255), `strength`, `luma`, `color` and
`detail` (0 to 1), and `ensemble` (1, 2, 4 or 8), in the query are those of `dae-run`. /v2 is the Open Inference Protocol
(https://github.com/kserve/open-inference-protocol), which clients of Triton and KServe speak: see tensors.py. /metrics is
for Prometheus.

Nobody is left waiting: every wait has an end, everything that a client can ask for has a limit, and who comes while all is
taken is told to come again (503 with Retry-After). On SIGTERM and SIGINT requests that are being answered are finished
first.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import click
from fastapi import FastAPI, Request, Response
from limits import MAX_PIXELS, RETRY_AFTER_S, STOP_S, Gate, Refused, listen, read_body, serve
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.exceptions import HTTPException
from tensors import HEADER_LENGTH, answer, described, parsed

from dae_runtime import DaeError, Denoiser, __version__
from dae_runtime.images import Image, decode, encode

DEFAULT = "default"
"""Name of the default models, which are chosen by the image."""
SHARES = ("strength", "luma", "color", "detail")
ENSEMBLES = ("1", "2", "4", "8")
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """What /metrics shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("dae_requests", "Requests by route and status", ["route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "dae_request_seconds", "Time of a request", ["route"], buckets=SECONDS, registry=self.registry
        )
        self.pixels = Counter("dae_pixels", "Pixels denoised", registry=self.registry)
        self.running = Gauge("dae_requests_in_progress", "Requests being answered", registry=self.registry)


def make_app(models: dict[str, Denoiser]) -> FastAPI:
    """Return the application.

    Args:
        models: Opened models by name; the first is that of /denoise. Each serves all threads.
    """
    metrics, gate = Metrics(), Gate()
    app = FastAPI(title="denoiser", version=__version__, docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def account(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        start = time.perf_counter()
        with metrics.running.track_inprogress():
            try:
                response = await call_next(request)
            except Refused as error:
                response = failure(error.status, error.text)
            except DaeError as error:  # its text says what is wrong with the image and what to do
                response = failure(422, str(error))
            except MemoryError:
                response = failure(503, "out of memory")
        route = getattr(request.scope.get("route"), "path", "other")  # not the path: clients could fill the memory with names
        metrics.requests.labels(route, response.status_code).inc()
        metrics.seconds.labels(route).observe(time.perf_counter() - start)
        return response

    async def work(task: Callable[..., Any], *values: Any, **named: Any) -> Any:
        async with gate.hold():
            return await asyncio.to_thread(task, *values, **named)

    def model(name: str) -> Denoiser:
        if name not in models:
            raise Refused(404, f"there is no model {name[:80]!r}; there are: {', '.join(models)}.")
        return models[name]

    @app.exception_handler(HTTPException)
    async def unknown(_request: Request, error: HTTPException) -> Response:
        return failure(error.status_code, error.detail)

    @app.post("/denoise")
    async def denoise(request: Request) -> Response:
        controls = controls_in(request)
        async with read_body(request, gate) as body:
            content, media, pixels = await work(denoise_file, next(iter(models.values())), body, controls)
        metrics.pixels.inc(pixels)
        return Response(content, media_type=media)

    @app.get("/metrics")
    async def show_metrics() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v2/health/live")
    @app.get("/v2/health/ready")
    async def healthy() -> dict[str, Any]:
        return {}

    @app.get("/v2")
    async def server() -> dict[str, Any]:
        return {"name": "denoiser", "version": __version__, "extensions": ["binary_tensor_data"]}

    @app.get("/v2/models/{name}/ready")
    async def ready(name: str) -> dict[str, Any]:
        model(name)
        return {}

    @app.get("/v2/models/{name}")
    async def metadata(name: str) -> dict[str, Any]:
        return described(name, model(name), any_channels=name == DEFAULT)

    @app.post("/v2/models/{name}/infer")
    async def infer(name: str, request: Request) -> Response:
        denoiser = model(name)
        async with read_body(request, gate) as body:
            wanted = await asyncio.to_thread(parsed, body, request.headers.get(HEADER_LENGTH), MAX_PIXELS)
            clean = await work(denoiser.denoise, wanted.noisy, sigma=wanted.sigma)
            content, headers = await asyncio.to_thread(answer, name, wanted, clean)
        metrics.pixels.inc(clean.size if clean.ndim == 2 else clean.size // clean.shape[-1])
        return Response(content, headers=headers)

    return app


def failure(status: int, text: str) -> Response:
    """Return an error as both protocols have it."""
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    return Response(json.dumps({"error": text}), status, headers, "application/json")


def controls_in(request: Request) -> dict[str, Any]:
    """Return the arguments of `Denoiser.denoise` that a query gives.

    Raises:
        Refused: A name is unknown, or a value is no number.
    """
    found: dict[str, Any] = {}
    for name, text in request.query_params.items():
        if name == "ensemble":
            if text not in ENSEMBLES:
                raise Refused(400, f"ensemble must be 1, 2, 4 or 8, not {text[:80]!r}.")
            found[name] = int(text)
            continue
        if name not in (*SHARES, "sigma"):
            raise Refused(400, f"unknown parameter {name[:80]!r}; there are: sigma, {', '.join(SHARES)}, ensemble.")
        most = 255 if name == "sigma" else 1
        try:
            found[name] = float(text) / most
        except ValueError:
            found[name] = -1
        if not 0 <= found[name] <= 1:
            raise Refused(400, f"{name} must be a number from 0 to {most}, not {text[:80]!r}.")
    return found


def denoise_file(denoiser: Denoiser, data: bytes, controls: dict[str, Any]) -> tuple[bytes, str, int]:
    """Denoise the content of an image file; return that of the new one, its media type, and the number of pixels."""
    decoded = decode(data, MAX_PIXELS)
    image = Image(decoded.pixels, decoded.metadata, decoded.pages, decoded.kind)
    clean = image.with_pixels(denoiser.denoise(image.page_pixels, **controls))
    media = "image/x-portable-anymap" if image.kind == "pnm" else f"image/{image.kind}"
    return (
        encode(clean.pixels, clean.kind, clean.metadata, pages=clean.pages),
        media,
        image.pixels.shape[0] * image.pixels.shape[1],
    )


@click.command()
@click.argument("model", nargs=-1)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, help="0 for any that is free.")
@click.option("--device", default="auto", show_default=True)
@click.option("--threads", type=int, help="CPU threads of each model.")
def main(model: tuple[str, ...], host: str, port: int, device: str, threads: int | None) -> None:
    """Serve MODELS (bundled names or files), or the default models, until interrupted."""
    try:
        opened = [Denoiser(name, device, threads) for name in model] or [Denoiser(device=device, threads=threads)]
    except DaeError as error:
        fail(str(error))
    names = [denoiser.model.name for denoiser in opened] if model else [DEFAULT]
    if len(set(names)) < len(names):
        fail(f"each model needs a name of its own; received {', '.join(names)}.")
    try:
        listening = listen(host, port)
    except (OSError, OverflowError) as error:
        fail(f"{host}:{port} cannot be used: {error}. Give another --port or --host.")
    serve(make_app(dict(zip(names, opened, strict=True))), listening, STOP_S)


def fail(text: str) -> NoReturn:
    """End the program with one line."""
    click.echo(f"error: {text}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
