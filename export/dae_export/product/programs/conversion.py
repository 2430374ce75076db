"""Conversion of a model file for another program, from the file alone."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from dae_runtime.contract import NCHW, Contract, Golden, to_json
from dae_runtime.engine.golden import MEAN_TOLERANCE, golden_arrays
from dae_runtime.engine.opening import open_model
from dae_runtime.engine.session import open_session

from ...errors import ConversionError
from ...graph.any_size import take_any_size
from ...graph.nchw import take_nchw
from ...options import ExportOptions
from ...precision import to_float16, to_float32
from ..contract_writer import tool_versions
from ..destination import write_file
from ..model_file import GOLDEN_TOLERANCE, with_contract
from ..strategies import choose_strategy
from .check import Difference, compare, run_program
from .demands import DEMANDS, Demands
from .edges import build_level_in, take_level_as, take_three_channels
from .packages import pack
from .targets import check_target

FORMS = {"value": "input sigma, N x 1", "map": "input sigma, N x 1 x H x W", "plane": "last channel of noisy"}
"""Words for the forms of the noise level."""


@dataclass(frozen=True)
class ProgramFile:
    """A written file for another program."""

    program: str
    path: Path
    """The file, or the folder for Triton."""
    size_bytes: int
    contract: Contract
    difference: Difference
    """From the file that it was made from."""
    sidecar: Path | None
    """The contract beside it."""

    def __str__(self) -> str:
        """Return lines of text: the file, its parity, and how it takes the noise level."""
        contract, difference = self.contract, self.difference
        size = " x ".join(map(str, contract.fixed_size)) if contract.fixed_size else "any size"
        traits = f"{contract.precision}, {contract.layout}, {size}, {'gray' if contract.channels == 1 else 'RGB'}"
        lines = [
            f"wrote    {self.path} ({self.size_bytes / 1024:.0f} KiB, {traits}, for {self.program})",
            f"parity   {difference.largest:.2g} at most from the model file, {difference.agreement_db:.1f} dB between the two",
        ]
        if contract.sigma is not None:
            form, high = FORMS[contract.sigma.form], contract.sigma.high
            lines.append(f"level    {form}: standard deviation, where white is 1, up to {high:.3f}")
            if given := DEMANDS[self.program].given_sigma:
                lines.append(
                    f"         {self.program} gives {given:g} of 255 for every image; --sigma S builds another level in"
                )
        return "\n".join(lines)


def convert_for(
    source: str | os.PathLike[str],
    program: str,
    target: Path,
    options: ExportOptions,
    level: float | None = None,
) -> ProgramFile:
    """Write a model file in the form that another program takes.

    Args:
        source: A file of dae-export, float32 at input and output.
        program: One of `dae_export.options.PROGRAMS`.
        target: The file to write, or the folder for Triton.
        options: `dtype`, `quantize`, `name`, `sidecar` and `overwrite` are used.
        level: Noise level to build in, above 0, on the scale where white is 1; None to take it as the program gives it.

    Raises:
        ConversionError: The program cannot take such a model.
        ParityError: The converted file computes something else.
        DestinationError: The output cannot be written, or exists.
        ModelError: The source cannot be read.
    """
    demands = DEMANDS[program]
    sidecar = check_target(program, target, options)
    precision = choose_strategy(options).name
    content = Path(source).read_bytes()
    old, before = open_model(content, "cpu")
    _refuse(program, demands, before, precision, level)
    model = _graph(onnx.load_from_string(content), before, demands, precision, level)
    channels = 3 if demands.color else before.channels
    levels = None if before.sigma is None or level is not None else replace(before.sigma, form=demands.sigma or "value")
    after = replace(
        before,
        name=options.name or before.name,
        channels=channels,
        precision=precision,
        golden=replace(
            before.golden if channels == before.channels else _repeated(before.golden),
            sigma=None if levels is None else before.golden.sigma,
        ),
        calibration=before.calibration if precision == "int8" else None,
        quality=before.quality if precision == before.precision else None,
        pair_limit=before.pair_limit if precision == "int8" else None,
        any_size=before.fixed_size is None,
        sigma=levels,
        layout=NCHW,
        tools={**before.tools, **{f"conversion: {name}": version for name, version in tool_versions().items()}},
    )
    new = open_session(model.SerializeToString(), "cpu")
    difference = compare(old, before, new, after, level)
    made = {
        "program": program,
        "from_sha256": hashlib.sha256(content).hexdigest(),
        "from_precision": before.precision,
        "largest_difference": difference.largest,
        "agreement_db": round(difference.agreement_db, 2),
        "built_in_sigma": level,
    }
    after = replace(after, golden=_golden(new, after), report={"made_for": made})
    return _write(program, target, sidecar, after, with_contract(model, after), difference, options.overwrite)


def _refuse(program: str, demands: Demands, before: Contract, precision: str, level: float | None) -> None:
    if before.io_dtype != "float32":
        raise ConversionError(f"{before.name} takes 8-bit pixels, and {program} hands over floats. Export with --io float32.")
    if before.fixed_size is not None and demands.free_size:
        raise ConversionError(
            f"{before.name} takes one image size only, and {program} hands over any. Use a model of free size."
        )
    if precision == "int8" and demands.no_int8:
        raise ConversionError(f"{program} gets no INT8 files: {demands.no_int8}. Use --dtype fp16, or leave --quantize out.")
    if precision not in {"int8": ("int8", "fp32", "fp16"), "fp32": ("fp32", "fp16")}.get(before.precision, ("fp16",)):
        raise ConversionError(
            f"{before.name} is {before.precision}, from which {precision} cannot be made. Export the run with "
            f"{'--quantize' if precision == 'int8' else '--dtype ' + precision}."
        )
    if before.sigma is None and level is not None:
        raise ConversionError(f"{before.name} takes no noise level: it finds the noise itself. Leave --sigma out.")
    if before.sigma is not None and level is None and demands.sigma is None:
        raise ConversionError(f"{before.name} takes the noise level, which {program} cannot give. Build one in with --sigma.")
    if before.sigma is not None and level is not None and not 0 < level <= before.sigma.high:
        raise ConversionError(
            f"{before.name} knows noise levels up to {255 * before.sigma.high:.4g} of 255, and --sigma is {255 * level:.4g}. "
            "Give a level above 0 and up to that."
        )


def _graph(model: onnx.ModelProto, before: Contract, demands: Demands, precision: str, level: float | None) -> onnx.ModelProto:
    """Return the graph in the form that a program takes."""
    if before.fixed_size is None and not before.any_size:
        model = take_any_size(model, before.alignment_px)
    if before.precision == "int8" != precision:
        model = to_float32(model)
    if precision == "fp16" != before.precision:
        model = to_float16(model)
    if before.sigma is not None and level is not None:
        model = build_level_in(model, level)
    model = take_nchw(model)
    if demands.color and before.channels == 1:
        model = take_three_channels(model)
    if before.sigma is not None and level is None and demands.sigma is not None:
        model = take_level_as(model, demands.sigma, before.sigma.high)
    return model


def _repeated(golden: Golden) -> Golden:
    """Return a gray sample with three equal channels."""
    shape = (*golden.shape[:3], 3)
    arrays = (
        np.repeat(np.frombuffer(data, "<f4").reshape(golden.shape), 3, axis=3) for data in (golden.noisy, golden.denoised)
    )
    noisy, denoised = (array.tobytes() for array in arrays)
    return replace(golden, shape=shape, noisy=noisy, denoised=denoised)


def _golden(session: object, contract: Contract) -> Golden:
    """Return the sample with what the written file makes of it; its arrays stay N x H x W x C."""
    noisy, _ = golden_arrays(contract)
    sigma = contract.golden.sigma
    denoised = run_program(session, contract, noisy, None if sigma is None else np.full((1, 1), sigma, np.float32))
    content = np.ascontiguousarray(denoised, "<f4").tobytes()
    limits = GOLDEN_TOLERANCE[contract.precision], MEAN_TOLERANCE[contract.precision]
    return Golden(contract.golden.shape, contract.golden.noisy, content, *limits, sigma)


def _write(
    program: str,
    target: Path,
    sidecar: Path | None,
    contract: Contract,
    content: bytes,
    difference: Difference,
    overwrite: bool,
) -> ProgramFile:
    files = pack(program, target, contract, content)
    if sidecar is not None:
        write_file(sidecar, to_json(contract, indent=2).encode(), "--output", overwrite)
    for path, data in files.items():
        if path.parent != target.parent:
            path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data, "--output", overwrite)
    return ProgramFile(program, target, sum(map(len, files.values())), contract, difference, sidecar)
