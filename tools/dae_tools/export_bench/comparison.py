"""Time our models against other denoisers, in alternating runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx

from dae_export.graph.macs import macs_per_pixel
from dae_export.measure.latency import Latency, time_alternately
from dae_export.measure.parity import noisy_images
from dae_export.precision import calibrate, quantize
from dae_runtime.contract import INPUT_NAME, SIGMA_NAME, Shape
from dae_runtime.engine.session import open_session, read_contract, run_session
from dae_runtime.models import DEFAULT_MODELS, bundled_models
from dae_runtime.pixels.arrays import FloatArray

from .peers import dncnn, ffdnet, has_opencv, non_local_means

FFDNET, FFDNET_INT8 = "FFDNet's shape, float32", "FFDNet's shape, static INT8"
DNCNN = "DnCNN's shape, float32"
NLM = "OpenCV fastNlMeansDenoising"
COMPARISON_ROUNDS = 5
COMPARED_PX = 512
_COUNTED_PX = 64
_CALIBRATED_PX = 128


@dataclass(frozen=True)
class Compared:
    """One denoiser."""

    latency: Latency
    """Of the whole input."""
    macs_per_pixel: float | None
    """None for methods without a network."""
    size_bytes: int | None
    """Size of the file; None without one."""


@dataclass(frozen=True)
class Comparison:
    """Denoisers timed in one run."""

    shape: Shape
    """(N, H, W, C) of the input."""
    threads: int
    denoisers: dict[str, Compared]
    """By name."""

    def ratio(self, name: str, peer: str) -> float | None:
        """Return the ratio of median times of two denoisers; None if the second is missing."""
        if peer not in self.denoisers:
            return None
        return self.denoisers[name].latency.median_ms / self.denoisers[peer].latency.median_ms


def compare(
    ours: Mapping[str, bytes],
    shape: Shape,
    threads: int,
    rounds: int = COMPARISON_ROUNDS,
    networks: Collection[str] = (DNCNN, FFDNET, FFDNET_INT8),
) -> Comparison:
    """Time models against published networks and, if installed, OpenCV's non-local means.

    Args:
        ours: Contents of ONNX files with our edges, by name; input float32 or uint8.
        shape: (1, H, W, C) of the image, with even sides accepted by the models.
        threads: CPU threads of each.
        rounds: Timed runs of each.
        networks: The published networks to time.
    """
    noisy = noisy_images((2, *shape[1:]))[1:]  # the first one is black and white noise
    peers = {name: model for name, model in _peers(shape[3]).items() if name in networks}
    contents = {**{name: model.SerializeToString() for name, model in peers.items()}, **ours}
    runs: dict[str, Callable[[], object]] = {name: _run(content, noisy, threads) for name, content in contents.items()}
    if has_opencv():
        runs = {**{name: runs[name] for name in peers}, NLM: non_local_means(noisy, threads), **runs}
    times = time_alternately(runs, rounds)
    return Comparison(shape, threads, {name: _compared(times[name], contents.get(name)) for name in runs})


def edge_models(tolerance: float = 1e-4) -> dict[str, bytes]:
    """Return gray INT8 files of all residual presets by name: bundled ones, else with random weights."""
    from .networks import EDGE_PRESETS

    bundled = _bundled_edge()
    found = {}
    for preset in EDGE_PRESETS:
        if preset in bundled:
            name, content = bundled[preset]
            found[f"{preset}, INT8 (bundled model {name})"] = content
        else:
            found[f"{preset}, INT8 (random weights)"] = _random_edge(preset, tolerance)
    return found


def compared_shape(model: bytes) -> Shape:
    """Return the (1, H, W, C) for timing a model: about 512 pixels per side, or its fixed size."""
    contract = read_contract(open_session(model, "cpu", 1), "the model")
    unit = contract.alignment_px * (2 if contract.alignment_px % 2 else 1)
    side = max(COMPARED_PX // unit, 1) * unit
    return (1, *(contract.fixed_size or (side, side)), contract.channels)


def _peers(channels: int) -> dict[str, onnx.ModelProto]:
    network = ffdnet(channels)
    noisy = noisy_images((4, _CALIBRATED_PX, _CALIBRATED_PX, channels))
    return {DNCNN: dncnn(channels), FFDNET: network, FFDNET_INT8: quantize(network, calibrate(network, [noisy]))}


def _bundled_edge() -> dict[str, tuple[str, bytes]]:
    found: dict[str, tuple[str, bytes]] = {}
    for name, path in sorted(bundled_models().items(), key=lambda entry: entry[0] != DEFAULT_MODELS[1]):
        contract = read_contract(open_session(path, "cpu", 1), name)
        if contract.channels == 1 and contract.precision == "int8":
            found.setdefault(contract.preset, (name, path.read_bytes()))
    return found


def _random_edge(preset: str, tolerance: float) -> bytes:
    from dae_export.product import choose_integer
    from dae_export.source import read_network

    from .networks import random_network

    network = read_network(random_network(preset), 18)
    noisy = noisy_images((4, *network.images.size_near(_CALIBRATED_PX), 1))
    form = choose_integer(network, noisy, tolerance)
    content: bytes = quantize(form.model, calibrate(form.model, [noisy])).SerializeToString()
    return content


_USUAL_LEVEL = 10 / 255
"""For models that are given the noise level; it does not change their time."""


def _run(content: bytes, noisy: FloatArray, threads: int) -> Callable[[], object]:
    session = open_session(content, "cpu", threads)
    kind = next(entry.type for entry in session.get_inputs() if entry.name == INPUT_NAME)
    image = np.rint(noisy * 255).astype(np.uint8) if kind == "tensor(uint8)" else noisy
    if all(entry.name != SIGMA_NAME for entry in session.get_inputs()):
        return partial(run_session, session, image)
    return partial(run_session, session, image, np.full((len(image), 1), _USUAL_LEVEL, np.float32))


def _compared(latency: Latency, content: bytes | None) -> Compared:
    if content is None:
        return Compared(latency, None, None)
    model = onnx.load_from_string(content)
    return Compared(latency, macs_per_pixel(model, _COUNTED_PX, _COUNTED_PX), len(content))
