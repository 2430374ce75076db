"""Conversion of an older INT8 file to one that is exact on every processor, without the Keras model."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from dae_runtime.contract import EXACT_PAIR_LIMIT, Contract
from dae_runtime.engine.opening import open_model
from dae_runtime.engine.session import open_session
from dae_runtime.errors import ModelError
from dae_runtime.system.paths import check_reachable, is_same, read_regular, reason_of, system_errors

from ..errors import CalibrationError, ConversionError, DestinationError, ExportError, GateError
from ..graph.any_size import take_any_size
from ..graph.model import Graph
from ..measure.gates import failed_gates, loss_gates
from ..measure.quality import Judgment, judge_sessions
from ..measure.samples import load_samples
from ..options import STAGES, ExportOptions
from ..precision import put_weights, require_exact, round_sums_alike, round_weights
from .contract_writer import tool_versions
from .destination import MODEL_SUFFIXES, check_destination, write_file
from .model_file import first_image, golden_sample, with_contract


@dataclass(frozen=True)
class Converted:
    """A written file."""

    path: Path
    size_bytes: int
    contract: Contract
    judgment: Judgment
    """The new file against the old one with exact kernels."""

    def __str__(self) -> str:
        """Return what the command prints about it."""
        judgment = self.judgment
        return (
            f"wrote    {self.path} ({self.size_bytes / 1024:.0f} KiB, int8, exact on every processor)\n"
            f"PSNR     {judgment.drop_db:.3f} dB lost against the old file on exact kernels, over {judgment.samples} images; "
            f"{judgment.agreement_db:.2f} dB between the two\n"
            f"next     dae-run -m {self.path} IN OUT"
        )


@system_errors(ExportError, "Remove the cause, and export again.")
def convert_file(
    source: str | os.PathLike[str], destination: str | os.PathLike[str] | None, options: ExportOptions
) -> Converted:
    """Round the weights of an INT8 file again so that sums are exact on every processor, and let it accept any size.

    Args:
        source: An INT8 file of dae-export.
        destination: Output file; None for `<source>-exact.onnx`.
        options: `calibration_data` is required; `pad`, `max_psnr_drop`, `max_color_shift`, `name` and `overwrite` are used.

    Raises:
        ExportError: The file is not INT8, there are no samples, or a gate fails; nothing has been written.
        ModelError: The file cannot be read.
    """
    check_reachable(source, "SOURCE")
    source = Path(source)
    target = Path(destination) if destination is not None else source.with_name(f"{source.stem}-exact.onnx")
    check_destination(target, MODEL_SUFFIXES, "--output", options.overwrite)
    if is_same(source, target):
        raise DestinationError(f"{target} is the file to convert. Give another --output.")
    content = _read(source)
    old, contract = open_model(content, "cpu")
    if contract.precision != "int8":
        raise ConversionError(
            f"{source} is {contract.precision}; only INT8 files are converted. Export the Keras model instead."
        )
    if options.calibration_data is None:
        raise CalibrationError("conversion needs typical noisy images. Give a folder or an .npz file with --calibration-data.")
    samples = load_samples(options.calibration_data, contract.images, contract.sigma)
    stage = logging.getLogger(STAGES).info
    stage("rounding the weights with %d images ...", samples.calibration.count)
    model = onnx.load_from_string(content)
    graph = Graph(model)
    round_sums_alike(graph)
    put_weights(graph, round_weights(model, samples.calibration, contract.alignment_px), {})
    exact = graph.to_model()
    require_exact(exact)
    free = contract.fixed_size is None
    if free and options.pad and not contract.any_size:
        exact = take_any_size(exact, contract.alignment_px)
    stage("measuring what that changes ...")
    judgment = judge_sessions(old, open_session(exact.SerializeToString(), "cpu"), samples)
    problem = failed_gates(loss_gates(judgment, options.max_psnr_drop, options.max_color_shift))
    if problem is not None:
        raise GateError(f"the converted file {problem}. Give more typical images, or export the Keras model.")
    quality, noisy = contract.quality, first_image(samples.test)
    contract = replace(
        contract,
        name=options.name or contract.name,
        golden=golden_sample(exact.SerializeToString(), noisy, contract.precision, contract.images, contract.sigma),
        quality=None if quality is None else replace(quality, psnr_db=quality.psnr_db - judgment.drop_db),
        pair_limit=EXACT_PAIR_LIMIT,
        any_size=free and (options.pad or contract.any_size or contract.alignment_px == 1),
        tools={**contract.tools, **{f"conversion: {name}": version for name, version in tool_versions().items()}},
        report={**contract.report, "converted_from_sha256": hashlib.sha256(content).hexdigest()},
    )
    written = with_contract(exact, contract)
    write_file(target, written, "--output", options.overwrite)
    return Converted(target, len(written), contract, judgment)


def _read(source: Path) -> bytes:
    try:
        return read_regular(source, onnx.checker.MAXIMUM_PROTOBUF)
    except OSError as error:
        raise ModelError(f"the model {source} cannot be read: {reason_of(error)}. Give the path of an .onnx file.") from error
