"""The export of a trained Keras model to a verified ONNX file."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dae_runtime.contract import Contract, to_json
from dae_runtime.errors import InputError
from dae_runtime.models import bundled_models
from dae_runtime.system.paths import system_errors

from .errors import CalibrationError, DestinationError, ExportError
from .measure.batches import trained_range
from .measure.gates import Gate
from .measure.quality import Judgment
from .measure.samples import check_samples_path, load_samples, read_levels
from .measure.tune import Choice
from .options import PROGRAMS, ExportOptions
from .product import (
    MODEL_SUFFIXES,
    REPORT_SUFFIXES,
    Product,
    ProgramFile,
    Strategy,
    check_destination,
    check_target,
    choose_strategy,
    convert_for,
    describe,
    find_target,
    make_product,
    sidecar_of,
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
    sidecar: Path | None
    """The contract beside the model file."""
    strategy: Strategy
    options: ExportOptions


def export(
    source: str | os.PathLike[str] | Any,  # Keras ships no types
    destination: str | os.PathLike[str] | None = None,
    options: ExportOptions | None = None,
    *,
    preset: str | None = None,
    noise: str | None = None,
    custom_objects: Mapping[str, Any] | None = None,
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
        custom_objects: Layers and functions of the program that a `.keras` file needs, by name, as
            `keras.models.load_model` takes them. Those registered with `keras.saving.register_keras_serializable` are known.

    Returns:
        The written file and its measurements.

    Raises:
        ExportError: The export fails, see `dae_export.errors`; nothing has been written.
        MissingDependencyError: TensorFlow, tf2onnx, onnx or onnxruntime is not installed.
    """
    options = options or ExportOptions()
    return carry_out(plan_export(source, destination, options, preset=preset, noise=noise, custom_objects=custom_objects))


@system_errors(ExportError, "Remove the cause, and export again.")
def export_for(
    program: str,
    source: str | os.PathLike[str] | Any,
    destination: str | os.PathLike[str] | None = None,
    options: ExportOptions | None = None,
    *,
    sigma: float | None = None,
    custom_objects: Mapping[str, Any] | None = None,
) -> ProgramFile:
    """Export a model in the form that another program takes: N x C x H x W, float32 in [0, 1], any height and width.

    Args:
        program: One of `dae_export.options.PROGRAMS`; docs/hosts.md describes the files.
        source: As for `export`, a model file of dae-export, or the name of a bundled model.
        destination: Output file, or folder for Triton; an existing folder, in which the file gets its usual name; None for
            that name beside the source, and in the current folder for a bundled model.
        options: The options; None for the defaults. An INT8 file is converted to float32 or FP16 unless `quantize` is given.
        sigma: Noise level to build into a model that takes one, on the scale where white is 1; None to take it as the program
            gives it.
        custom_objects: As for `export`.

    Returns:
        The written file, and how far it is from the model file.

    Raises:
        InputError: There is no such program.
        ExportError, ModelError, MissingDependencyError: As `export`, or the program cannot take such a model.
    """
    options = options or ExportOptions()
    target = plan_for(program, source, destination, options)
    file = model_file(source)
    if file is not None:
        return convert_for(file, program, target, options, sigma)
    with tempfile.TemporaryDirectory() as folder:
        inner = replace(options, sidecar=False)
        made = export(source, Path(folder) / "model.onnx", inner, custom_objects=custom_objects)
        return convert_for(made.path, program, target, options, sigma)


def plan_for(
    program: str,
    source: str | os.PathLike[str] | Any,
    destination: str | os.PathLike[str] | None,
    options: ExportOptions,
) -> Path:
    """Return the checked path of what `export_for` writes, before TensorFlow is loaded.

    Raises:
        InputError, ExportError: As `export_for`.
    """
    if program not in PROGRAMS:
        raise InputError(f"the program must be one of {', '.join(PROGRAMS)}, not {program!r}.")
    file = model_file(source)
    if file is None:
        found = find_source(source)
        home, name = found.folder, found.name
    else:
        home, name = Path() if file in bundled_models().values() else file.parent, file.stem
    given = None if destination is None else Path(destination)
    if given is None and home is None:
        raise DestinationError("a model in memory has no default destination. Give the path of the output file.")
    target = find_target(program, given, home or Path(), options.name or name, options)
    check_target(program, target, options)
    return target


def model_file(source: str | os.PathLike[str] | Any) -> Path | None:
    """Return the path of a source that is a model file or the name of a bundled one; None for others."""
    if not isinstance(source, str | os.PathLike):
        return None
    path = Path(source)
    bundled = bundled_models().get(os.fspath(source))
    if bundled is not None and not path.is_file() and not (path / "run.toml").exists():
        return bundled
    return path if path.suffix == ".onnx" and not path.is_dir() else None


@system_errors(ExportError, "Remove the cause, and export again.")
def plan_export(
    source: str | os.PathLike[str] | Any,
    destination: str | os.PathLike[str] | None,
    options: ExportOptions,
    *,
    preset: str | None = None,
    noise: str | None = None,
    custom_objects: Mapping[str, Any] | None = None,
) -> Plan:
    """Check everything that needs no model, before TensorFlow is loaded.

    Raises:
        ExportError: As `export`.
    """
    found = find_source(source)
    found = replace(found, preset=preset or found.preset, noise=noise or found.noise, custom_objects=custom_objects)
    strategy = choose_strategy(options)
    target = Path(destination) if destination is not None else _default_destination(found, strategy)
    check_destination(target, MODEL_SUFFIXES, "--output", options.overwrite)
    report = Path(options.report) if options.report is not None else None
    if report is not None:
        check_destination(report, REPORT_SUFFIXES, "--report", options.overwrite)
    sidecar = sidecar_of(target, options)
    return Plan(found, target, _find_samples(found, strategy, options), report, sidecar, strategy, options)


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
    if plan.sidecar is not None:
        write_file(plan.sidecar, to_json(contract, indent=2).encode(), "--sidecar", options.overwrite)
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
