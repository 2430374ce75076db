"""`dae-run` on standard input and output: one image, or raw video frames."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import click

from ..errors import ImageError
from ..jobs.locations import check_local
from ..system.atomic import atomic_path, write_atomic
from ..system.command import echo
from ..system.messages import counted
from ..system.paths import Identity, identity_in, identity_of, is_file, is_folder
from ..system.standard_streams import binary_input, binary_output
from .options import CLUSTER, RunOptions, usage_errors

STANDARD = "-"
"""Standard input or output."""
_FILE_OPTIONS = (
    *("suffix", "recursive", "reference", "report", "manifest", "files_from", "shard"),
    *("resume", "retry_failed", "watch", "dry_run", "fail_fast"),
    *CLUSTER,
)


def denoise_image(source: str, output: str, options: RunOptions) -> int:
    """Denoise one image from standard input, to standard output, or both."""
    options.refuse("standard input or output", "batch_size", *_FILE_OPTIONS)
    _check_names(source, output)
    _check_source(source)
    kind = _kind(output, options.format)
    from ..images import MAX_PIXELS
    from ..jobs.streams import denoise_file_bytes

    with usage_errors():
        value_range = options.value_range
    max_pixels = MAX_PIXELS if options.max_pixels is None else options.max_pixels
    data = _read(source, max_pixels)
    with options.open_denoiser() as denoiser:
        content = denoise_file_bytes(
            denoiser,
            data,
            kind,
            controls=options.controls,
            value_range=value_range,
            quality=options.quality,
            max_pixels=max_pixels,
            name="the image" if source == STANDARD else source,
        )
    if output == STANDARD:
        _write_out(content)
        return 0
    try:
        write_atomic(output, content, overwrite=options.overwrite)
    except FileExistsError as error:
        raise ImageError(f"{output}: exists already. Give --overwrite to replace it.") from error
    except OSError as error:
        raise ImageError(f"{output}: cannot be written: {error.strerror or error}.") from error
    return 0


def denoise_frames(source: str, output: str, frame: str, options: RunOptions) -> int:
    """Denoise raw frames, given as `WxHxC` or `WxHxCx16`, from a file or standard input to a file or standard output."""
    from ..jobs.streams import denoise_raw, parse_frame

    with usage_errors():
        shape, dtype = parse_frame(frame)
    options.refuse("--raw", "format", "quality", "range", "max_megapixels", *_FILE_OPTIONS)
    many = 2**20  # the number of frames is unknown; several at once use the CPUs best
    with options.open_denoiser(many) as denoiser, _streams(source, output, options.overwrite) as (frames, target):
        count = denoise_raw(denoiser, frames, target, shape, controls=options.controls, ahead=options.batch_size, dtype=dtype)
    if not options.quiet:
        echo(f"{counted(count, 'frame')} denoised on {denoiser.device} with {denoiser.model.name}", err=True)
    return 0


def _check_names(source: str, output: str) -> None:
    """Check that both can be reached, and are not one file: also behind a redirected standard stream."""
    with usage_errors():
        for name, what in ((source, "the input"), (output, "the output")):
            if name != STANDARD:
                check_local(name, what)
    ends = _regular_identity(source, sys.stdin), _regular_identity(output, sys.stdout)
    if ends[0] is not None and ends[0] == ends[1]:
        raise click.UsageError(f"the output {output} is also the input. Give another output.")


def _regular_identity(name: str, stream: TextIO | None) -> Identity | None:
    if name != STANDARD:
        return identity_of(name) if is_file(name) else None
    try:
        status = os.fstat(stream.fileno()) if stream is not None else None
    except (OSError, ValueError):
        return None
    return identity_in(status) if status is not None and stat.S_ISREG(status.st_mode) else None


def _check_source(source: str) -> None:
    if source == STANDARD or (os.path.lexists(source) and not is_folder(source)):
        return
    what = "a folder" if is_folder(source) else "no file"
    raise click.UsageError(f"standard output takes one image, but {source} is {what}. Give an image file, or a folder as OUT.")


def _kind(output: str, format: str | None) -> str | None:
    """Return the kind of image to write, or None for the input's own."""
    from ..images import FORMATS, IMAGE_SUFFIXES, kind_to_write

    if output == STANDARD:
        if format is None:
            return None
        suffix = "." + format.lower().removeprefix(".")
        if suffix not in FORMATS:
            raise click.UsageError(f"images cannot be written as {format!r}; the formats are {', '.join(IMAGE_SUFFIXES)}.")
        return kind_to_write("image" + suffix)
    if format is not None:
        raise click.UsageError(
            f"--format cannot be used with the output file {output}, whose suffix sets the format; leave it out."
        )
    suffix = Path(output).suffix.lower()
    if suffix not in FORMATS or is_folder(output):
        raise click.UsageError(
            f"the image from standard input needs an image file as output ({', '.join(IMAGE_SUFFIXES)}) or -, not {output}."
        )
    return kind_to_write(output)


def _read(source: str, max_pixels: int) -> bytes:
    from ..images import read_stream

    try:
        if source == STANDARD:
            return read_stream(binary_input(), max_pixels)
        with Path(source).open("rb") as file:
            return read_stream(file, max_pixels)
    except ImageError as error:
        raise ImageError(f"{'the image' if source == STANDARD else source}: {error}.") from error
    except OSError as error:
        raise ImageError(f"{source}: cannot be read: {error.strerror or error}.") from error


def _write_out(content: bytes) -> None:
    try:
        target = binary_output()
        target.write(content)
        target.flush()
    except BrokenPipeError:
        raise  # the reader has gone; run_command handles it
    except OSError as error:
        raise ImageError(f"standard output cannot be written: {error.strerror or error}.") from error


@contextlib.contextmanager
def _streams(source: str, output: str, overwrite: bool) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open input and output; an output file is written atomically."""
    _check_names(source, output)
    with contextlib.ExitStack() as stack:
        try:
            frames = binary_input() if source == STANDARD else stack.enter_context(Path(source).open("rb"))
            target = binary_output() if output == STANDARD else _open_output(stack, Path(output), overwrite)
            yield frames, target
        except FileExistsError as error:
            raise ImageError(f"{output}: exists already. Give --overwrite to replace it.") from error
        except BrokenPipeError:
            raise
        except OSError as error:
            raise ImageError(f"{error.filename or output}: cannot be read or written: {error.strerror or error}.") from error


def _open_output(stack: contextlib.ExitStack, path: Path, overwrite: bool) -> BinaryIO:
    if (
        os.path.lexists(path) and not is_file(path) and not is_folder(path)
    ):  # a named pipe or a device takes the frames directly
        return cast("BinaryIO", stack.enter_context(path.open("wb")))
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(path)
    temporary = stack.enter_context(atomic_path(path, overwrite=overwrite))
    return cast("BinaryIO", stack.enter_context(temporary.open("wb")))
