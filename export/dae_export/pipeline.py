"""The export: from a trained Keras model to one ONNX file that is proved to be the same function."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dae_runtime.contract import Contract

from .destination import check_destination, write_model
from .errors import CalibrationError, DestinationError
from .measure.quality import Judgment
from .measure.samples import Samples, check_samples_path, load_samples
from .measure.tune import Choice
from .options import ExportOptions
from .product import Product, describe, make_product, node_counts, with_contract
from .report import ExportReport, Gate, measure_report, write_html
from .source import Network, Source, find_source, load, read_network


@dataclass(frozen=True)
class ExportResult:
    """A file that was written, and what was measured on the way."""

    path: Path
    """The model file."""
    size_bytes: int
    contract: Contract
    """What the file says about itself."""
    node_counts: dict[str, int]
    """Nodes of the graph, by kind."""
    form: str
    """Which form the graph has: `canonical`, or the name of the rewrites."""
    choice: Choice | None
    """The times that it was chosen by; None if there was nothing to choose from."""
    judgment: Judgment | None
    """INT8 or FP16 against float32; None for a float32 file."""
    float_layers: tuple[str, ...]
    """Layers of an INT8 file that stayed in float."""
    speedup: float | None
    """Of INT8 against float32; None if it was not measured."""


def export(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str] | None = None,
    options: ExportOptions | None = None,
) -> ExportResult:
    """Export a trained model to one ONNX file.

    Args:
        source: Run directory of dae-train, or a `.keras` file.
        destination: The file to write; None for `<preset>.onnx`, `-fp16.onnx` or `-int8.onnx` beside the model.
        options: What is asked for; None for a float32 file with the defaults.

    Returns:
        What was written and measured.

    Raises:
        ExportError: The file is refused, see `dae_export.errors`; nothing has been written.
        MissingDependencyError: TensorFlow, tf2onnx, onnx or onnxruntime is not installed.
    """
    options = options or ExportOptions()
    found, target, samples_path = check_arguments(source, destination, options)
    network = read_network(load(found), options.opset)
    samples = load_samples(samples_path, network.fit) if samples_path else None
    product = make_product(network, samples, options)
    contract = describe(found, network, product, samples, options)
    report = _report(network, product, samples, contract, options)
    if report is not None:
        contract = replace(contract, report={**contract.report, **report.to_json()})
    content = with_contract(product.model, contract)
    _write(target, content, report, options)
    return ExportResult(
        path=target,
        size_bytes=len(content),
        contract=contract,
        node_counts=node_counts(product.model),
        form=product.form.name,
        choice=product.form.choice,
        judgment=product.judgment,
        float_layers=product.float_layers,
        speedup=product.speedup,
    )


def check_arguments(
    source: str | os.PathLike[str], destination: str | os.PathLike[str] | None, options: ExportOptions
) -> tuple[Source, Path, Path | None]:
    """Check everything that needs no model: `export` does so first, and a program may do so before it loads TensorFlow.

    Returns:
        The source, the file to write, and where the calibration samples are (None if there are none and none are needed).

    Raises:
        ExportError: As `export`.
    """
    found = find_source(source)
    target = _check_destination(found, destination, options)
    _check_report(options)
    return found, target, _find_samples(found, options)


def default_destination(source: Source, precision: str) -> Path:
    """Return where the file goes unless told otherwise."""
    ending = "" if precision == "fp32" else f"-{precision}"
    return source.folder / f"{source.preset or source.name}{ending}.onnx"


# --- what needs no model -----------------------------------------------------------------------------------------------


def _check_destination(source: Source, destination: str | os.PathLike[str] | None, options: ExportOptions) -> Path:
    target = Path(destination) if destination is not None else default_destination(source, options.precision)
    check_destination(target, options)
    return target


def _check_report(options: ExportOptions) -> None:
    path = options.report
    if path is None:
        return
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else f"cannot be written: there is no folder {path.parent}"
        raise DestinationError(f"{path} {problem}. Give the path of a file with --report.")
    if path.suffix not in (".html", ".htm"):
        raise DestinationError(f"{path}: expected a name that ends in .html, received {path.name!r}.")
    if path.exists() and not options.overwrite:
        raise DestinationError(f"{path} exists already. Replace it with --overwrite, or give another --report.")


def _find_samples(source: Source, options: ExportOptions) -> Path | None:
    path = options.calibration_data or source.calibration_path
    if path is not None:
        check_samples_path(Path(path))
    elif options.precision != "fp32":
        purpose = (
            "INT8 needs noisy images to calibrate with" if options.quantize else "FP16 needs noisy images to be judged on"
        )
        raise CalibrationError(
            f"{purpose}, and {source.folder} holds no calibration.npz. "
            "Give an .npz file or a folder of noisy images with --calibration-data."
        )
    return Path(path) if path is not None else None


# --- the steps -----------------------------------------------------------------------------------------------------------


def _report(
    network: Network, product: Product, samples: Samples | None, contract: Contract, options: ExportOptions
) -> ExportReport | None:
    if options.report is None:
        return None
    return measure_report(
        product.float32 or product.form.model,
        product.model,
        samples,
        network.fit,
        name=contract.name,
        precision=contract.precision,
        gates=tuple(_gates(product, options)),
    )


def _gates(product: Product, options: ExportOptions) -> Iterator[Gate]:
    parity, judgment = product.form.parity, product.judgment
    yield Gate("largest difference from the Keras model", parity.max_abs_error, parity.tolerance)
    if judgment is not None:
        yield Gate("loss of PSNR, dB", judgment.drop_db, options.max_psnr_drop)
        yield Gate("mean shift of a channel, 8-bit steps", max(map(abs, judgment.color_shift)), options.max_color_shift)
    if product.speedup is not None and options.min_speedup is not None:
        yield Gate("speed against float32", product.speedup, options.min_speedup, at_least=True)


def _write(target: Path, content: bytes, report: ExportReport | None, options: ExportOptions) -> None:
    if report is not None and options.report is not None:  # before the model: a model that is there is a finished export
        try:
            write_html(options.report, replace(report, size_bytes=len(content)))
        except OSError as error:
            reason = error.strerror or error
            raise DestinationError(f"{options.report} cannot be written: {reason}. Give another --report.") from error
    write_model(target, content, options.overwrite)
