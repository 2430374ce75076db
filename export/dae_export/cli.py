"""The command dae-export: parses, calls `dae_export.export`, prints."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import dae_runtime
from dae_runtime.contract import CALIBRATION_METHODS, IO_DTYPES
from dae_runtime.errors import DaeError, InputError
from dae_runtime.models import bundled_models, describe_models
from dae_runtime.system.command import (
    EXIT_FAILED,
    PrintableFormatter,
    ReachablePath,
    buffered_stderr,
    echo,
    require,
    run_command,
)

from .options import AUTO, DTYPES, OPSETS, PROGRAMS, STAGES, ExportOptions

if TYPE_CHECKING:
    from .pipeline import ExportResult

ALL = "all"  # as SOURCE: all bundled models
_DEFAULT = ExportOptions()


class _SourcePath(ReachablePath):
    """An existing path, or with --for the name of a bundled model."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        named = ctx is not None and ctx.params.get("program") in PROGRAMS and value in (ALL, *bundled_models())
        if not named and value in bundled_models() and not os.path.lexists(value):
            text = f"dae-run -m {value} takes its name. Give a run directory of dae-train or a .keras file, or --for PROGRAM."
            self.fail(f"{value} is a bundled model, an .onnx file already: {text}", param, ctx)
        return Path(value) if named else super().convert(value, param, ctx)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("source", metavar="SOURCE", type=_SourcePath(exists=True, path_type=Path))
@click.option("-o", "--output", type=ReachablePath(path_type=Path), help="Output file [default: RUN/PRESET[-int8].onnx].")
@click.option(
    "--for",
    "program",
    type=click.Choice(PROGRAMS),
    is_eager=True,
    help="Write what this program takes; SOURCE may then be a model file, a bundled model, or `all` of these.",
)
@click.option(
    "--sigma",
    type=click.FloatRange(0, 255, min_open=True),
    metavar="S",
    help="With --for: build this noise level, 0 to 255, into a model that is given it; darktable gives 25 itself.",
)
@click.option("--name", help="Model name stored in the file [default: the name of the run].")
@click.option("--quantize", is_flag=True, help="Write an INT8 model.")
@click.option("--dtype", type=click.Choice(DTYPES), default=_DEFAULT.dtype, help="Precision of a float model.")
@click.option("--io", type=click.Choice(list(IO_DTYPES)), default=_DEFAULT.io, help="Data type of input and output.")
@click.option("--no-pad", is_flag=True, help="Do not pad inside the graph; accept multiples of the alignment only.")
@click.option("--no-rewrite", is_flag=True, help="Write the canonical graph instead of the fastest variant on this machine.")
@click.option("--opset", type=click.IntRange(OPSETS[0], OPSETS[-1]), default=_DEFAULT.opset, help="ONNX operator set version.")
@click.option(
    "--calibration-data",
    type=ReachablePath(exists=True, path_type=Path),
    help="Noisy images for INT8: an .npz or .npy file or a folder [default: the run's own].",
)
@click.option(
    "--calibration-method",
    type=click.Choice((AUTO, *CALIBRATION_METHODS)),
    default=_DEFAULT.calibration_method,
    help="How activation ranges are determined.",
)
@click.option(
    "--max-psnr-drop",
    type=click.FloatRange(min=0),
    default=_DEFAULT.max_psnr_drop,
    metavar="DB",
    help="Reject an INT8 or FP16 model that loses more PSNR.",
)
@click.option(
    "--max-color-shift",
    type=click.FloatRange(min=0),
    default=_DEFAULT.max_color_shift,
    metavar="STEPS",
    help="Reject one whose mean shift of any channel is larger, in 8-bit steps.",
)
@click.option(
    "--min-psnr-gain",
    type=float,
    default=_DEFAULT.min_psnr_gain,
    metavar="DB",
    help="Reject a model that gains less PSNR over noisy samples with clean references.",
)
@click.option(
    "--min-speedup",
    type=click.FloatRange(min=0, min_open=True),
    metavar="X",
    help="Reject an INT8 model that is not X times as fast as float32 on this machine [default: no limit].",
)
@click.option(
    "--atol",
    type=click.FloatRange(min=0, min_open=True),
    default=_DEFAULT.atol,
    help="Largest absolute difference allowed between the graph and the Keras model.",
)
@click.option("--report", type=ReachablePath(path_type=Path), help="Also write an HTML report.")
@click.option("--sidecar", is_flag=True, help="Also write the contract as a .json file beside the model.")
@click.option("--hub-card", type=ReachablePath(path_type=Path), help="Write a Hugging Face card of the .onnx file SOURCE.")
@click.option("--hub-license", metavar="ID", help="With --hub-card: the license that the card states, such as mit.")
@click.option("--check", is_flag=True, help="Check whether the .onnx file SOURCE is exact on every processor; exit 1 if not.")
@click.option("--overwrite", is_flag=True, help="Overwrite existing output files.")
@click.option("-v", "--verbose", is_flag=True, help="Print progress and TensorFlow messages.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.version_option(dae_runtime.__version__, prog_name="dae-export")
def command(
    source: Path,
    output: Path | None,
    program: str | None,
    sigma: float | None,
    no_rewrite: bool,
    no_pad: bool,
    check: bool,
    verbose: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Convert a trained model to one ONNX file.

    SOURCE is a run directory of dae-train, or a .keras file. The file is written only if it computes what the Keras
    model computes and, with --quantize or --dtype fp16, if the loss is within the --max limits.

    SOURCE may also be an older INT8 .onnx file: with --calibration-data it is made exact on every processor.
    """
    card, license_id = options.pop("hub_card"), options.pop("hub_license")
    try:
        chosen = ExportOptions(rewrite=not no_rewrite, pad=not no_pad, **options)
    except InputError as error:
        raise click.UsageError(str(error)) from error
    if (check, program is not None, card is not None).count(True) > 1 or (card is None) != (license_id is None):
        raise click.UsageError("--check, --for, and --hub-card with --hub-license exclude each other: give one of them.")
    if sigma is not None and program is None:
        raise click.UsageError("--sigma is for --for: other files are given the level when they run. Leave it out.")
    _configure_log(verbose, quiet)
    if program is not None:
        _export_for(program, source, output, chosen, None if sigma is None else sigma / 255, verbose, quiet)
        return
    if check or card is not None or source.suffix == ".onnx":
        require("dae-export", "export", "onnx")
        require("dae-export", "cpu", "onnxruntime")
        if check:
            _check(source)
        elif card is not None:
            from .product import write_card

            write_card(source, card, license_id, chosen.overwrite)
        else:
            from .product import convert_file

            _print(convert_file(source, output, chosen), quiet)
        return
    require("dae-export", "export", "tensorflow", "tf2onnx", "onnx")
    require("dae-export", "cpu", "onnxruntime")
    from .pipeline import carry_out, plan_export

    plan = plan_export(source, output, chosen)
    _load_tensorflow(verbose)
    _print(summary(carry_out(plan)), quiet)


def _export_for(
    program: str, source: Path, output: Path | None, options: ExportOptions, sigma: float | None, verbose: bool, quiet: bool
) -> None:
    require("dae-export", "export", "onnx")
    require("dae-export", "cpu", "onnxruntime")
    from .pipeline import export_for, model_file, plan_for

    every = os.fspath(source) == ALL and not source.exists()
    if every and (options.name or (output and not output.is_dir() and (output.suffix == ".onnx" or output.exists()))):
        raise click.UsageError(f"{ALL} writes many files: give a folder with --output, and no --name.")
    if every and output:
        output.mkdir(parents=True, exist_ok=True)
    leveled = {Path(model.name): model.contract.sigma is not None for model in describe_models()} if every else {source: True}
    for one in leveled:
        plan_for(program, one, output, options)
    if any(model_file(one) is None for one in leveled):
        require("dae-export", "export", "tensorflow", "tf2onnx")
        _load_tensorflow(verbose)
    failed = False
    for one, takes_level in leveled.items():
        try:
            file = export_for(program, one, output, options, sigma=sigma if takes_level else None)
        except DaeError as error:
            if not every:
                raise
            echo(f"error: {error}", err=True)
            failed = True
            continue
        _print(file, quiet)
    if failed:
        sys.exit(EXIT_FAILED)


def _check(source: Path) -> None:
    from .precision import check_sums, describe_sums, near_halves

    layers = check_sums(source)
    echo("\n".join(describe_sums(layers)))
    if sums := near_halves(source):
        echo(f"{len(sums)} sums of two tensors may round differently by one 8-bit step: {', '.join(sums)}")
    if not all(layer.exact for layer in layers):
        sys.exit(EXIT_FAILED)


def _print(result: object, quiet: bool) -> None:
    for line in () if quiet else str(result).split("\n"):
        echo(line)


def summary(result: ExportResult) -> str:
    """Return the text that the command prints about a written file."""
    contract = result.contract
    size = " x ".join(map(str, contract.fixed_size or ())) or "any size"
    color = "gray" if contract.channels == 1 else "RGB"
    lines = (
        f"wrote    {result.path} ({result.size_bytes / 1024:.0f} KiB, {contract.precision}, {size}, {color})",
        f"parity   {contract.parity.max_abs_error:.2g} at most from Keras over {len(contract.parity.shapes)} shapes "
        f"({contract.parity.tolerance:g} allowed)",
        *_form_lines(result),
        *_quality_lines(result),
        f"next     dae-run -m {result.path} IN OUT",
    )
    return "\n".join(lines)


def _form_lines(result: ExportResult) -> Iterator[str]:
    choice = result.choice
    if choice is not None:
        batch, height, width, _ = choice.shape
        others = ", ".join(f"{name} {t.fastest_ms:.3g}" for name, t in choice.times.items() if name != result.form)
        images = f"{batch} x {height} x {width}" if batch > 1 else f"{height} x {width}"
        yield f"form     {result.form}: {choice.times[result.form].fastest_ms:.3g} ms for {images} here ({others} ms)"
    if result.speedup is not None:
        yield f"speed    {result.speedup:.2f} times that of the float32 file"


def _quality_lines(result: ExportResult) -> Iterator[str]:
    quality, judgment, report = result.contract.quality, result.judgment, result.contract.report
    name = {"int8": "INT8", "fp16": "FP16"}.get(result.contract.precision, "")
    if quality is not None:
        before, own = f"noisy {quality.noisy_psnr_db:.2f}, fp32 {quality.fp32_psnr_db:.2f}", f", {name} {quality.psnr_db:.2f}"
        yield f"PSNR     {before}{own if judgment else ''} dB over {quality.samples} test images"
    if judgment is not None and quality is None:
        yield (
            f"PSNR     {name} against fp32 {judgment.agreement_db:.2f} dB over {judgment.samples} images; without clean "
            f"images the loss is estimated at {judgment.drop_db:.3f} dB"
        )
    if "integer_share" in report:
        exact = ", exact on every processor" if result.contract.is_exact else ""
        yield f"INT8     {report['integer_share']:.1%} of the arithmetic is in integers{exact}"
    if result.float_layers:
        yield (
            f"float    {', '.join(result.float_layers)} ({report['float_share']:.1%} of the network) stay in float to keep "
            "the loss within the limits"
        )


def _configure_log(verbose: bool, quiet: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
    logging.getLogger(STAGES).setLevel(logging.WARNING if quiet else logging.INFO)


def _load_tensorflow(verbose: bool) -> None:
    """Import TensorFlow on the CPU; hide what its C++ code prints unless the import fails."""
    from .source import import_keras

    if not verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger(STAGES).info("loading TensorFlow, and converting the network ...")
    with contextlib.nullcontext() if verbose else buffered_stderr():
        import_keras()
        import tensorflow
    with contextlib.suppress(RuntimeError):  # the process has already used TensorFlow
        tensorflow.config.set_visible_devices([], "GPU")


def main() -> None:
    """Run the command on `sys.argv`."""
    run_command(command)
