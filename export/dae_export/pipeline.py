"""The export: from a trained Keras model to one ONNX file that is proved to be the same function."""

from __future__ import annotations

import importlib.metadata
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dae_runtime
from dae_runtime.atomic import write_atomic
from dae_runtime.contract import Calibration, Contract, Parity, Quality

from .canonical import canonicalize
from .convert import convert
from .errors import CalibrationError, DestinationError
from .halo import Geometry, fixed_geometry, measure
from .keras_file import KerasModel, Source, find_source, load
from .model_file import GOLDEN_SIDE_PX, first_image, golden_sample, with_contract
from .options import ExportOptions
from .parity import check_parity, noisy_images, parity_shapes
from .quality import Judgment, Quantized, measure_quality, quantize_within
from .quantize import calibrate
from .samples import Fit, Samples, check_samples_path, load_samples

if TYPE_CHECKING:
    import onnx

TOOLS = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "onnxruntime-gpu", "numpy")
"""Packages whose versions the contract records."""

logger = logging.getLogger(__name__)


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
    judgment: Judgment | None
    """INT8 against float32; None for a float32 file."""
    float_nodes: tuple[str, ...]
    """Layers of an INT8 file that stayed in float."""


@dataclass(frozen=True)
class _Converted:
    """The float32 graph and what is known about it."""

    model: onnx.ModelProto
    geometry: Geometry
    parity: Parity
    fit: Fit
    preset: str


def export(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str] | None = None,
    options: ExportOptions | None = None,
) -> ExportResult:
    """Export a trained model to one ONNX file.

    Args:
        source: Run directory of dae-train, or a `.keras` file.
        destination: The file to write; None for `<preset>.onnx` or `<preset>-int8.onnx` beside the model.
        options: What is asked for; None for a float32 file with the defaults.

    Returns:
        What was written and measured.

    Raises:
        ExportError: The file is refused, see `dae_export.errors`; nothing has been written.
        MissingDependencyError: TensorFlow, tf2onnx, onnx or onnxruntime is not installed.
    """
    options = options or ExportOptions()
    found, target, samples_path = check_arguments(source, destination, options)
    converted = _convert(load(found), found, options)
    samples = load_samples(samples_path, converted.fit) if samples_path else None
    quantized = _quantize(converted, samples, options) if options.quantize and samples else None
    quality = _quality(converted, samples, quantized)
    contract = _contract(found, converted, samples, quantized, quality, options)
    model = quantized.model if quantized else converted.model
    content = with_contract(model, contract)
    _write(target, content, options)
    kinds = [node.op_type for node in model.graph.node]
    return ExportResult(
        path=target,
        size_bytes=len(content),
        contract=contract,
        node_counts={kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        judgment=quantized.judgment if quantized else None,
        float_nodes=quantized.float_nodes if quantized else (),
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
    return found, _check_destination(found, destination, options), _find_samples(found, options)


def default_destination(source: Source, quantize: bool) -> Path:
    """Return where the file goes unless told otherwise."""
    return source.folder / f"{source.preset or source.name}{'-int8' if quantize else ''}.onnx"


# --- what needs no model -----------------------------------------------------------------------------------------------


def _check_destination(source: Source, destination: str | os.PathLike[str] | None, options: ExportOptions) -> Path:
    target = Path(destination) if destination is not None else default_destination(source, options.quantize)
    if target.is_dir() or not target.parent.is_dir():
        problem = "is a folder" if target.is_dir() else f"cannot be written: there is no folder {target.parent}"
        raise DestinationError(f"{target} {problem}. Give the path of a file with --output.")
    if target.suffix != ".onnx":
        raise DestinationError(f"{target}: expected a name that ends in .onnx, received {target.name!r}.")
    if target.exists() and not options.overwrite:
        raise DestinationError(f"{target} exists already. Replace it with --overwrite, or give another --output.")
    return target


def _find_samples(source: Source, options: ExportOptions) -> Path | None:
    path = options.calibration_data or source.calibration_path
    if path is not None:
        check_samples_path(Path(path))
    elif options.quantize:
        raise CalibrationError(
            f"INT8 needs noisy images to calibrate with, and {source.folder} holds no calibration.npz. "
            "Give an .npz file or a folder of noisy images with --calibration-data."
        )
    return Path(path) if path is not None else None


# --- the steps -----------------------------------------------------------------------------------------------------------


def _convert(model: KerasModel, source: Source, options: ExportOptions) -> _Converted:
    graph = convert(model, options.opset)
    canonicalize(graph, model.fixed_size)
    geometry = measure(graph) if model.fixed_size is None else fixed_geometry()
    proto = graph.to_model()
    logger.info("converted: %s; alignment %d px, halo %s px", graph.kinds(), geometry.alignment_px, geometry.halo_px)
    shapes = parity_shapes(model.channels, geometry.alignment_px, model.fixed_size)
    parity = check_parity(proto.SerializeToString(), model, shapes, options.atol)
    logger.info("parity: %.3g at most over %d shapes", parity.max_abs_error, len(parity.shapes))
    fit = Fit(model.channels, geometry.alignment_px, model.fixed_size)
    return _Converted(proto, geometry, parity, fit, source.preset or model.name)


def _quantize(converted: _Converted, samples: Samples, options: ExportOptions) -> Quantized:
    logger.info("calibrating on %d images from %s", samples.calibration.count, samples.source)
    ranges = calibrate(converted.model, samples.calibration, options.calibration_method)
    return quantize_within(converted.model, ranges, samples, options.max_psnr_drop)


def _quality(converted: _Converted, samples: Samples | None, quantized: Quantized | None) -> Quality | None:
    if quantized is not None:
        return quantized.judgment.quality
    return measure_quality(converted.model.SerializeToString(), samples) if samples else None


def _contract(
    source: Source,
    converted: _Converted,
    samples: Samples | None,
    quantized: Quantized | None,
    quality: Quality | None,
    options: ExportOptions,
) -> Contract:
    fit = converted.fit
    precision = "int8" if quantized else "fp32"
    model = quantized.model if quantized else converted.model
    noisy = first_image(samples.test) if samples else noisy_images((1, *(fit.fixed_size or _golden_size(fit)), fit.channels))
    calibration = None
    if quantized and samples:
        calibration = Calibration(options.calibration_method, samples.calibration.count, samples.source)
    return Contract(
        name=source.name,
        preset=converted.preset,
        channels=fit.channels,
        io_dtype="float32",
        height_px=fit.fixed_size[0] if fit.fixed_size else None,
        width_px=fit.fixed_size[1] if fit.fixed_size else None,
        alignment_px=converted.geometry.alignment_px,
        halo_px=converted.geometry.halo_px,
        noise=source.noise,
        precision=precision,
        parity=converted.parity,
        golden=golden_sample(model.SerializeToString(), noisy, precision, fit.alignment_px, fit.fixed_size is not None),
        calibration=calibration,
        quality=quality,
        tools=tool_versions(),
        report=_report(quantized),
    )


def _golden_size(fit: Fit) -> tuple[int, int]:
    side = max(GOLDEN_SIDE_PX // fit.alignment_px, 1) * fit.alignment_px
    return side, side


def _report(quantized: Quantized | None) -> dict[str, object]:
    if quantized is None:
        return {}
    judgment = quantized.judgment
    return {
        "psnr_drop_db": round(judgment.drop_db, 4),
        "psnr_drop_is_estimated": judgment.quality is None,
        "agreement_with_fp32_db": round(judgment.agreement_db, 2),
        "layers_in_float": list(quantized.float_nodes),
    }


def tool_versions() -> dict[str, str]:
    """Return the versions of the packages that make a model file, by name."""
    versions = {"dae-toolkit": dae_runtime.__version__}
    for name in TOOLS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # one of the two onnxruntime packages, or a TensorFlow under another name
    return versions


def _write(target: Path, content: bytes, options: ExportOptions) -> None:
    try:
        write_atomic(target, content, overwrite=options.overwrite)
    except FileExistsError as error:
        raise DestinationError(f"{target} appeared during the export. Replace it with --overwrite.") from error
    except OSError as error:
        raise DestinationError(f"{target} cannot be written: {error.strerror or error}. Give another --output.") from error
