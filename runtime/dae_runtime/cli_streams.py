"""What `dae-run` does with standard input and output: one image, or raw video frames. Calls the library, prints."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import click

from .cli_files import max_pixels, open_denoiser
from .command import EXIT_FAILED
from .errors import DaeError, ImageError, InputError

STANDARD = "-"
"""Stands for standard input or output."""
_OF_FILES = ("suffix", "recursive", "reference", "report", "manifest", "resume", "retry_failed", "watch", "dry_run")


def denoise_image(source: str, output: str, model: str | None, options: dict[str, Any]) -> int:
    """Denoise one image from standard input, to standard output, or both."""
    kind = _kind(output, options["format"])
    _refuse(options, *_OF_FILES)
    from .atomic import write_atomic
    from .raw import denoise_file_bytes

    data = _read(source)
    with open_denoiser(model, options) as denoiser:
        strength = options["strength"]
        content = denoise_file_bytes(denoiser, data, kind, strength=strength, max_pixels=max_pixels(options))
    if output == STANDARD:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return 0
    try:
        write_atomic(output, content, overwrite=options["overwrite"])
    except FileExistsError as error:
        raise ImageError(f"{output}: exists already. Give --overwrite to replace it.") from error
    except OSError as error:
        raise ImageError(f"{output}: cannot be written: {error.strerror or error}.") from error
    return 0


def denoise_frames(source: str, output: str, model: str | None, options: dict[str, Any]) -> int:
    """Denoise raw frames from a file or standard input to a file or standard output."""
    from .raw import denoise_raw, parse_frame

    try:
        shape = parse_frame(options["raw"])
    except InputError as error:
        raise click.UsageError(str(error)) from error
    _refuse(options, "format", *_OF_FILES)
    many = 2**20  # how many frames will come is not known; several at once use the CPUs best
    with open_denoiser(model, options, many) as denoiser, _streams(source, output, options["overwrite"]) as (frames, target):
        try:
            count = denoise_raw(denoiser, frames, target, shape, strength=options["strength"], ahead=options["batch_size"])
        except DaeError as error:
            click.echo(f"error: {error}", err=True)
            return EXIT_FAILED
    if not options["quiet"]:
        click.echo(f"{count} frames denoised on {denoiser.device} with {denoiser.model.name}", err=True)
    return 0


def _kind(output: str, format: str | None) -> str | None:
    from .images import image_format

    if format is None and output == STANDARD:
        return None  # the input's own
    try:
        return image_format(f"x.{format.lower().removeprefix('.')}" if format else output)
    except ImageError as error:
        raise click.UsageError(f"{error}.") from error


def _refuse(options: dict[str, Any], *names: str) -> None:
    for name in names:
        if options[name]:
            raise click.UsageError(f"--{name.replace('_', '-')} has no use with standard input or output; leave it out.")


def _read(source: str) -> bytes:
    if source == STANDARD:
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise ImageError(f"{source}: cannot be read: {error.strerror or error}.") from error


@contextlib.contextmanager
def _streams(source: str, output: str, overwrite: bool) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    with contextlib.ExitStack() as stack:
        try:
            frames = sys.stdin.buffer if source == STANDARD else stack.enter_context(Path(source).open("rb"))
            mode = "wb" if overwrite else "xb"
            target = (
                sys.stdout.buffer if output == STANDARD else cast("BinaryIO", stack.enter_context(Path(output).open(mode)))
            )
        except FileExistsError as error:
            raise ImageError(f"{output}: exists already. Give --overwrite to replace it.") from error
        except OSError as error:
            raise ImageError(f"{error.filename}: cannot be opened: {error.strerror or error}.") from error
        yield frames, target
