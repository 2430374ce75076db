"""The contract of an exported file, from the measurements of the export."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import dae_runtime
from dae_runtime.contract import EXACT_PAIR_LIMIT, Contract
from dae_runtime.system.processor import available_cpus, cpu_features, cpu_name

from ..graph.macs import count_macs, integer_nodes, macs_per_pixel, share
from ..measure.parity import noisy_images
from ..measure.samples import Samples
from ..options import ExportOptions
from ..precision import is_exact
from ..source import Network, Source
from .build import Product
from .model_file import GOLDEN_SIDE_PX, first_image, golden_sample
from .strategies import COUNTING_SIDE_PX

TOOLS = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "onnxruntime-gpu", "numpy")
"""Packages with versions in the contract."""


def describe(source: Source, network: Network, product: Product, samples: Samples | None, options: ExportOptions) -> Contract:
    """Return the contract of a product."""
    images = network.images
    height_px, width_px = images.fixed_size or (None, None)
    noisy = first_image(samples.test) if samples else noisy_images((1, *images.size_near(GOLDEN_SIDE_PX), images.channels))
    return Contract(
        name=options.name or source.name,
        preset=source.preset or network.keras.name,
        channels=images.channels,
        io_dtype=options.io,
        height_px=height_px,
        width_px=width_px,
        alignment_px=images.alignment_px,
        halo_px=images.halo_px,
        noise=source.noise,
        precision=product.precision,
        parity=product.parity,
        golden=golden_sample(product.model.SerializeToString(), noisy, product.precision, images, network.sigma),
        sigma=network.sigma,
        calibration=product.calibration,
        quality=product.quality,
        pair_limit=EXACT_PAIR_LIMIT if product.calibration and is_exact(product.model) else None,
        any_size=images.fixed_size is None and (options.pad or images.alignment_px == 1),
        tools=tool_versions(),
        report=_measurements(network, product),
    )


def _measurements(network: Network, product: Product) -> dict[str, Any]:
    """Return further measurements for JSON."""
    height, width = network.images.size_near(COUNTING_SIDE_PX)
    measured: dict[str, Any] = {
        "form": _form(product),
        "macs_per_pixel": {
            "network": round(macs_per_pixel(network.model, height, width), 1),
            "computed": round(macs_per_pixel(product.model, height, width), 1),
        },
    }
    judgment = product.judgment
    if judgment is not None:
        measured |= {
            "psnr_drop_db": round(judgment.drop_db, 4),
            "psnr_drop_is_estimated": judgment.quality is None,
            "agreement_with_fp32_db": round(judgment.agreement_db, 2),
            "color_shift": [round(shift, 3) for shift in judgment.color_shift],
        }
    if product.calibration is not None:
        macs = count_macs(product.model, height, width)
        measured |= {
            "integer_share": round(share(macs, integer_nodes(product.model)), 4),
            "layers_in_float": list(product.float_layers),
            "float_share": round(product.float_share, 4),
        }
    if product.speedup is not None:
        measured["speedup"] = round(product.speedup, 2)
    return measured


def _form(product: Product) -> dict[str, Any]:
    choice = product.form.choice
    if choice is None:
        return {"name": product.form.name}
    return {
        "name": product.form.name,
        "fastest_ms": {name: float(f"{latency.fastest_ms:.4g}") for name, latency in choice.times.items()},
        "median_ms": {name: float(f"{latency.median_ms:.4g}") for name, latency in choice.times.items()},
        "shape": list(choice.shape),
        "processor": cpu_name(),
        "features": cpu_features(),
        "threads": available_cpus(),
    }


def tool_versions() -> dict[str, str]:
    """Return the versions of `TOOLS`, by name."""
    versions = {"dae-toolkit": dae_runtime.__version__}
    for name in TOOLS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # one of the two onnxruntime packages, or TensorFlow under another name
    return versions
