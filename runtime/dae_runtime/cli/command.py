"""The command `dae-run`: denoise image files with a model. Parses, calls the library, prints."""

from __future__ import annotations

import logging
import math
import sys
from typing import Any

import click

from .._version import __version__
from ..errors import InputError
from ..system.bounds import LARGEST_SIDE_PX, MOST_IMAGES, MOST_MEMORY_MB, MOST_PIXELS, MOST_THREADS
from ..system.command import PrintableFormatter, run_command
from . import actions
from .files import denoise_files, watch_folder
from .measuring import measure_levels
from .options import RunOptions
from .streams import STANDARD, denoise_frames, denoise_image

MIN_MEMORY_MB = 64
"""The started engine takes 40 MiB, with the image it is measured on; a lower limit could not be kept."""


def _check_number(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):  # the range check accepts nan
        raise click.BadParameter(f"a finite number is needed, not {value}.")
    return value


def _check_device(context: click.Context, parameter: click.Parameter, value: str) -> str:
    from ..engine.devices import parse_device

    try:
        parse_device(value)
    except InputError as error:
        raise click.BadParameter(str(error)) from error
    return value


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.argument("source", metavar="IN", required=False)
@click.argument("output", metavar="OUT", required=False)
@click.option(
    "-m", "--model", metavar="MODEL", help="An .onnx file from dae-export, a bundled model's name, or hf://OWNER/REPO."
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    callback=_check_device,
    help="auto, cpu, cuda[:N], or another device of the installed onnxruntime.",
)
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="CPU threads.  [default: the CPUs this process may use]")
@click.option(
    "-b", "--batch-size", type=click.IntRange(1, MOST_IMAGES), help="Images per batch.  [default: chosen from the image size]"
)
@click.option(
    "-t",
    "--tile-size",
    metavar="PX",
    type=click.IntRange(1, LARGEST_SIDE_PX),
    help="Cut larger images into tiles of this size.",
)
@click.option(
    "--max-memory-mb",
    metavar="MB",
    type=click.IntRange(MIN_MEMORY_MB, MOST_MEMORY_MB),
    help="Limit memory by choosing tile and batch sizes.",
)
@click.option(
    "--max-megapixels",
    metavar="N",
    type=click.FloatRange(0, MOST_PIXELS / 1e6, min_open=True),
    callback=_check_number,
    help="Reject images larger than N megapixels.  [default: 536]",
)
@click.option(
    "--strength",
    type=click.FloatRange(0, 1),
    default=1.0,
    callback=_check_number,
    help="Share of the change to apply, 0 to 1.  [default: 1]",
)
@click.option(
    "--sigma",
    metavar="S",
    type=click.FloatRange(0, 255),
    callback=_check_number,
    help="Noise level on the scale of 0 to 255, for models that are given it.  [default: measured]",
)
@click.option(
    "--luma",
    type=click.FloatRange(0, 1),
    default=1.0,
    callback=_check_number,
    help="Share of the brightness noise to remove, 0 to 1.  [default: 1]",
)
@click.option(
    "--color",
    type=click.FloatRange(0, 1),
    default=1.0,
    callback=_check_number,
    help="Share of the color noise to remove, 0 to 1.  [default: 1]",
)
@click.option(
    "--detail",
    type=click.FloatRange(0, 1),
    default=0.0,
    callback=_check_number,
    help="Share of the fine structure in the removed part to put back, 0 to 1.  [default: 0]",
)
@click.option("--bits", type=click.IntRange(9, 16), help="Bits that 16-bit images use.  [default: detected: 10, 12, 14 or 16]")
@click.option(
    "--ensemble",
    type=click.Choice(["1", "2", "4", "8"]),
    default="1",
    help="Average over so many flips and turns of each image: about 0.1 dB better, so many times as slow.  [default: 1]",
)
@click.option("--range", metavar="LO-HI", help="Black and white of float and signed TIFFs, which are refused without it.")
@click.option("-r", "--recursive", is_flag=True, help="Include sub-folders of IN; OUT mirrors them.")
@click.option("--format", metavar="EXT", help="Write every output in this format: png, jpg, tif, webp, avif, bmp, pgm, ppm.")
@click.option(
    "--quality",
    metavar="N",
    type=click.IntRange(1, 100),
    help="Quality of JPEG, WebP and AVIF outputs, 1 to 100.  [default: of a JPEG input, else 95; AVIF 90]",
)
@click.option("--suffix", default="", help="Append to each output name: _clean turns a.png into a_clean.png.")
@click.option(
    "--files-from",
    metavar="LIST",
    help="Denoise the files of the folder IN that this list names: a relative name a line; - is standard input.",
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Do share I of N of the files, 1/N to N/N: N processes on any machines do all of them.",
)
@click.option("--cluster", metavar="ADDRESS", help="Denoise on a Ray cluster: HOST:PORT, auto, or local to start one.")
@click.option(
    "--cluster-workers", metavar="N", type=click.IntRange(1), help="Most workers, of --threads CPUs each.  [default: all CPUs]"
)
@click.option("--gpus-per-worker", metavar="G", type=float, default=0.0, help="GPUs of a worker, such as 1 or 0.5.")
@click.option("--reference", metavar="DIR", help="Clean images of the same names; print PSNR and SSIM before and after.")
@click.option("--report", metavar="FILE.html", help="Write an HTML report with images and quality figures.")
@click.option("--overwrite", is_flag=True, help="Replace existing outputs. Inputs are never changed.")
@click.option("--dry-run", is_flag=True, help="List the planned outputs and existing files, then exit.")
@click.option(
    "--manifest",
    metavar="FILE.jsonl",
    help="Note each finished file here, so that the same command continues.  [default: OUT/dae-manifest.jsonl]",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Do not try again what failed before. With --overwrite: replace only what is not complete with these settings.",
)
@click.option("--retry-failed", is_flag=True, help="Like --resume, but try again what failed before.")
@click.option("--watch", is_flag=True, help="Watch the folder IN and denoise new files until interrupted.")
@click.option(
    "--raw", metavar="WxHxC", help="Denoise raw frames of 8 bits, or WxHxCx16, from IN to OUT.  [default: standard streams]"
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first file that fails.")
@click.option(
    "--measure",
    is_flag=True,
    help="Print the noise level of each file of IN and, for each camera and ISO, the level to give as --sigma.",
)
@click.option(
    "--self-test",
    is_flag=True,
    help="Check that MODEL, or each bundled model, computes here what its exporter computed.",
)
@click.option("--contract", metavar="MODEL", help="Print the contract of a model file or bundled model as JSON.")
@click.option(
    "--merge-manifests", metavar="OUT", help="Make one manifest of those of the shards in OUT, once these have ended."
)
@click.option("--list-models", is_flag=True, help="Print the bundled models.")
@click.option("--doctor", is_flag=True, help="Print the installation, the capabilities of the machine, and problems.")
@click.option("-v", "--verbose", is_flag=True, help="Print more on standard error.")
@click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
@click.version_option(__version__, prog_name="dae-run")
def command(
    source: str | None,
    output: str | None,
    measure: bool,
    self_test: bool,
    contract: str | None,
    merge_manifests: str | None,
    list_models: bool,
    doctor: bool,
    **values: Any,
) -> int:
    """Denoise IN (an image file, a folder, or a quoted pattern such as 'scans/*.png') to OUT (a folder, or for one image a
    file whose suffix sets the format). - is a standard stream. IN and OUT may be URLs: s3://, gs://, az://.

    \b
    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but some files failed, 130 interrupted.
    """  # noqa: D301 - click's mark for a paragraph that is not rewrapped
    options = RunOptions(**values)
    _configure_log(options)
    wanted = (
        (list_models, actions.list_models),
        (doctor, actions.print_diagnosis),
        (self_test, lambda: actions.check_models(options)),
        (contract is not None, lambda: actions.print_contract(contract or "")),
        (merge_manifests is not None, lambda: actions.merge_shards(merge_manifests or "")),
    )
    chosen = [action for asked, action in wanted if asked]
    if len(chosen) > 1 or (chosen and (measure or source is not None)):
        raise click.UsageError(
            "--self-test, --contract, --merge-manifests, --list-models and --doctor exclude each other, IN and OUT: give one "
            "of them alone."
        )
    if chosen:
        return chosen[0]()
    if measure:
        return measure_levels(source, output, options)
    if options.raw:
        return denoise_frames(source or STANDARD, output or STANDARD, options.raw, options)
    if source is None or output is None:
        raise click.UsageError("IN and OUT are required, e.g. dae-run noisy/ clean/")
    if STANDARD in (source, output):
        return denoise_image(source, output, options)
    if options.watch:
        return watch_folder(source, output, options)
    return denoise_files(source, output, options)


def main() -> None:
    """Run the command on `sys.argv`."""
    run_command(command)


def _configure_log(options: RunOptions) -> None:
    level = logging.DEBUG if options.verbose else logging.ERROR if options.quiet else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    log = logging.getLogger("dae_runtime")
    log.addHandler(handler)
    log.setLevel(level)
    from ..engine.devices import AUTO
    from ..engine.packages import installed_engines

    if level == logging.INFO and options.device == AUTO and list(installed_engines()) == ["onnxruntime"]:
        # This package has no CUDA support, so running on the CPU needs no log line.
        logging.getLogger("dae_runtime.engine").setLevel(logging.WARNING)
