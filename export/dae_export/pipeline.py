"""The export of a trained Keras model to a verified ONNX file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dae_runtime.contract import Contract
from dae_runtime.system.paths import system_errors

from .errors import CalibrationError, DestinationError, ExportError
from .measure.batches import trained_range
from .measure.gates import Gate
from .measure.quality import Judgment
from .measure.samples import check_samples_path, load_samples, read_levels
from .measure.tune import Choice
from .options import ExportOptions
from .product import (
    MODEL_SUFFIXES,
    REPORT_SUFFIXES,
    Product,
    Strategy,
    check_destination,
    choose_strategy,
    describe,
    make_product,
    with_contract,
    write_file,
)
from .report import ExportReport, html_page, measure_report
from .source import Network, Source, find_source, load, read_network


@dataclass(frozen=True)
class ExportResult:
    """A written file and its measurements."""

    path: Path
    """The model file."""
    size_bytes: int
    contract: Contract
    """The contract in the file."""
    node_counts: dict[str, int]
    """Nodes of the graph, by kind."""
    form: str
    """Variant of the graph: `canonical`, or the name of the rewrites."""
    choice: Choice | None
    """Times of the variants; None with a single one."""
    judgment: Judgment | None
    """INT8 or FP16 against float32; None for a float32 file."""
    float_layers: tuple[str, ...]
    """Layers of an INT8 file that stay in float."""
    speedup: float | None
    """Speedup of INT8 over float32; None if not measured."""


@dataclass(frozen=True)
class Plan:
    """A validated export: everything that needs no model is checked."""

    source: Source
    target: Path
    """The model file."""
    samples_path: Path | None
    """Calibration samples; None if there are none and none are needed."""
    report: Path | None
    """The HTML page."""
    strategy: Strategy
    options: ExportOptions


def export(
    source: str | os.PathLike[str] | Any,  # Keras ships no types
    destination: str | os.PathLike[str] | None = None,
    options: ExportOptions | None = None,
    *,
    preset: str | None = None,
    noise: str | None = None,
) -> ExportResult:
    """Export a trained model to one ONNX file.

    The model maps images (N, H, W, C), float32 in [0, 1] with C of 1 or 3, to the same shape, and is not changed. A model in
    memory must run on the TensorFlow backend of Keras.

    Args:
        source: Run directory of dae-train, a `.keras` file, or a built `keras.Model` in memory.
        destination: Output file; None for `<preset>.onnx`, `-fp16.onnx` or `-int8.onnx` beside the model. Required for a
            model in memory.
        options: The options; None for the defaults.
        preset: Architecture, for people; None for that of the run, else the name of the Keras model.
        noise: Noise that the model removes, such as `gaussian:0.1`; None for that of the run, else `unknown`.

    Returns:
        The written file and its measurements.

    Raises:
        ExportError: The export fails, see `dae_export.errors`; nothing has been written.
        MissingDependencyError: TensorFlow, tf2onnx, onnx or onnxruntime is not installed.
    """
    return carry_out(plan_export(source, destination, options or ExportOptions(), preset=preset, noise=noise))


@system_errors(ExportError, "Remove the cause, and export again.")
def plan_export(
    source: str | os.PathLike[str] | Any,
    destination: str | os.PathLike[str] | None,
    options: ExportOptions,
    *,
    preset: str | None = None,
    noise: str | None = None,
) -> Plan:
    """Check everything that needs no model, before TensorFlow is loaded.

    Raises:
        ExportError: As `export`.
    """
    found = find_source(source)
    found = replace(found, preset=preset or found.preset, noise=noise or found.noise)
    strategy = choose_strategy(options)
    target = Path(destination) if destination is not None else _default_destination(found, strategy)
    check_destination(target, MODEL_SUFFIXES, "--output", options.overwrite)
    report = Path(options.report) if options.report is not None else None
    if report is not None:
        check_destination(report, REPORT_SUFFIXES, "--report", options.overwrite)
    return Plan(found, target, _find_samples(found, strategy, options), report, strategy, options)


@system_errors(ExportError, "Remove the cause, and export again.")
def carry_out(plan: Plan) -> ExportResult:
    """Load the model, write the file, and return the measurements.

    Raises:
        ExportError, MissingDependencyError: As `export`.
    """
    options = plan.options
    network = read_network(load(plan.source), options.opset)
    if network.keras.takes_sigma:
        seen = read_levels(plan.samples_path) if plan.samples_path else None
        network = replace(network, sigma=trained_range(plan.source.noise, seen, network.keras.where))
    samples = load_samples(plan.samples_path, network.images, network.sigma) if plan.samples_path else None
    product = make_product(plan.strategy, network, samples, options)
    contract = describe(plan.source, network, product, samples, options)
    report = _report(network, product, contract) if plan.report else None
    if report is not None:
        contract = replace(contract, report={**contract.report, **report.to_json()})
    content = with_contract(product.model, contract)
    if report is not None and plan.report is not None:  # before the model, whose existence means a finished export
        text = html_page(replace(report, size_bytes=len(content)))
        write_file(plan.report, text.encode(), "--report", options.overwrite)
    write_file(plan.target, content, "--output", options.overwrite)
    return ExportResult(
        path=plan.target,
        size_bytes=len(content),
        contract=contract,
        node_counts=dict(Counter(node.op_type for node in product.model.graph.node)),
        form=product.form.name,
        choice=product.form.choice,
        judgment=product.judgment,
        float_layers=product.float_layers,
        speedup=product.speedup,
    )


def _default_destination(source: Source, strategy: Strategy) -> Path:
    """Return the default output file."""
    if source.folder is None:
        raise DestinationError("a model in memory has no default destination. Give the path of the output file.")
    return source.folder / f"{source.preset or source.name}{strategy.suffix}.onnx"


def _find_samples(source: Source, strategy: Strategy, options: ExportOptions) -> Path | None:
    path = options.calibration_data or source.calibration_path
    if path is not None:
        check_samples_path(Path(path))
    elif strategy.needs_samples is not None:
        where = f"{source.folder} holds no calibration.npz" if source.folder else "a model in memory has none"
        raise CalibrationError(
            f"{strategy.needs_samples}, and {where}. Give an .npz file or a folder of noisy images with --calibration-data."
        )
    return Path(path) if path is not None else None


def _report(network: Network, product: Product, contract: Contract) -> ExportReport | None:
    if product.written is None:
        return None
    return measure_report(
        product.float32,
        product.model,
        product.written,
        network.images,
        name=contract.name,
        precision=contract.precision,
        gates=tuple(_gates(product)),
    )


def _gates(product: Product) -> Iterator[Gate]:
    yield Gate("largest difference from the Keras model", product.parity.max_abs_error, product.parity.tolerance)
    yield from product.gates
