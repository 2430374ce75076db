"""`dae-run --measure`: the noise levels of files, and those to tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..system.command import EXIT_SOME_FILES_FAILED, echo
from ..system.messages import counted
from .options import CLUSTER, RunOptions, usage_errors
from .streams import STANDARD

if TYPE_CHECKING:
    from ..folders import FileLevel, SharedLevel

_OF_OUTPUTS = (
    "format",
    "suffix",
    "quality",
    "reference",
    "report",
    "overwrite",
    "manifest",
    "resume",
    "retry_failed",
    "dry_run",
)


def measure_levels(source: str | None, output: str | None, options: RunOptions) -> int:
    """Print the noise level of each file, and the level of those that belong together; return the exit code."""
    from ..folders import measure_files, shared_levels
    from ..images import MAX_PIXELS, disable_cache
    from ..inference import Controls
    from ..jobs.results import JobOptions

    if source in (None, STANDARD) or output is not None:
        raise click.UsageError("--measure needs IN, a file, folder or pattern, and no OUT, e.g. dae-run noisy/ --measure")
    options.refuse("--measure", "sigma", "watch", "raw", "shard", "fail_fast", *_OF_OUTPUTS, *CLUSTER)
    found: list[FileLevel] = []
    with usage_errors():
        largest = options.max_pixels or MAX_PIXELS
        reading = JobOptions(controls=options.controls, max_pixels=largest, value_range=options.value_range)
    disable_cache()
    with options.open_denoiser() as denoiser:
        with usage_errors():
            denoiser.check(Controls(sigma=0.0))
            files = measure_files(source or "", denoiser, reading, options.recursive, options.files_from)
        for file in files:
            found.append(file)
            if file.error is not None:
                echo(f"failed: {file.error}", err=True)
            elif file.level is None:
                echo(f"       -         {file.path}  (its model estimates the noise by itself)")
            else:
                echo(f"{255 * file.level:8.1f} of 255  {file.path}")
    for group in shared_levels(found):
        if group.files > 1:
            echo(_words(group))
    return EXIT_SOME_FILES_FAILED if any(file.error is not None for file in found) else 0


def _words(group: SharedLevel) -> str:
    """Return a line on files that belong together."""
    name, level = group.camera or "camera not told", f"{255 * group.level:.1f}"
    name += ", gray" if group.is_gray else ""
    return f"{name}: {counted(group.files, 'file')}, together {level} of 255: --sigma {level} tells it"
