"""What `dae-run` does with a manifest: where it is, and what an earlier run has left for this one."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ModelError, OutputExistsError
from ..system.messages import counted, listed
from .options import model_paths

if TYPE_CHECKING:
    from ..jobs.manifest import Entry, Manifest, Remaining, Settings
    from ..jobs.plan import Job


@dataclass(frozen=True)
class Past:
    """What the manifest of an earlier run says of the files of this one."""

    remaining: Remaining
    entries: Mapping[str, Entry]
    settings: Settings
    """Of this run."""

    def check_others(self) -> None:
        """Check that nothing would be replaced but what the run to resume has made with this model and strength.

        Raises:
            OutputExistsError: Something would.
        """
        from ..jobs.manifest import entry_of

        foreign = self.remaining.foreign
        if foreign:
            raise OutputExistsError(
                f"{counted(len(foreign), 'file')} where outputs belong {'are' if len(foreign) > 1 else 'is'} not of the run "
                f"to resume, or changed since: {listed([job.destination for job in foreign])}. Move them away, replace them "
                "with --overwrite, or give another output."
            )
        others = self.remaining.others
        if not others:
            return
        entry = entry_of(others[0], self.entries)
        assert entry is not None  # what else would it be known from
        if entry.model_sha256 != self.settings.model_sha256:
            what = f"another model (SHA-256 {entry.model_sha256[:12]}..., this one's is {self.settings.model_sha256[:12]}...)"
        else:
            what = f"strength {entry.strength:g} instead of {self.settings.strength:g}"
        raise OutputExistsError(
            f"{counted(len(others), 'output')} of the run to resume {'were' if len(others) > 1 else 'was'} made with {what}: "
            f"{listed([job.destination for job in others])}. Resume with what it was begun with, give --overwrite to make "
            "anew what differs, or give another output."
        )

    def tell_failed(self, quiet: bool) -> None:
        """Name the files that are left alone because they failed before, and unless `quiet` what to do about them."""
        from ..jobs.manifest import entry_of

        for job in self.remaining.failed:
            entry = entry_of(job, self.entries)
            click.echo(f"failed before: {entry.error if entry and entry.error else job.source}", err=True)
        if self.remaining.failed and not quiet:
            click.echo("--retry-failed tries again what failed before", err=True)

    def marks(self, overwrite: bool) -> dict[Job, str]:
        """Return, for a printed plan, what is special about a job."""
        foreign = "exists, not of the run to resume or changed since: " + ("replaced" if overwrite else "refused")
        others = "exists, made with another model or strength: " + ("replaced" if overwrite else "refused without --overwrite")
        return {
            **dict.fromkeys(self.remaining.complete, "complete already: left as it is"),
            **dict.fromkeys(self.remaining.failed, "failed before: left out without --retry-failed"),
            **dict.fromkeys(self.remaining.others, others),
            **dict.fromkeys(self.remaining.foreign, foreign),
        }


def manifest_path(output: str, options: dict[str, Any]) -> Path | None:
    """Return where the manifest is or will be, or None if there shall be none."""
    if options["manifest"] is not None:
        from ..images import FORMATS

        path = Path(options["manifest"])
        if path.suffix.lower() in FORMATS:  # as all images of a run are, those too that a hot folder will have
            raise click.UsageError(f"--manifest {path} is named as an image. Give another name, such as {path.stem}.jsonl.")
        return path
    if not options["resume"]:
        return None
    from ..jobs.manifest import MANIFEST_NAME
    from ..jobs.plan import is_file_name

    return (Path(output).parent if is_file_name(output) else Path(output)) / MANIFEST_NAME


def open_manifest(
    path: Path | None, model: str | None, options: dict[str, Any]
) -> contextlib.AbstractContextManager[Manifest | None]:
    """Open the manifest to append to, if there shall be one."""
    if path is None:
        return contextlib.nullcontext()
    from ..jobs.manifest import Manifest

    return Manifest(path, _settings(model, options))


def look_back(jobs: list[Job], path: Path | None, model: str | None, options: dict[str, Any]) -> Past | None:
    """Return what the run to resume has left, or None if none is to be resumed."""
    if path is None or not options["resume"] or not path.exists():
        return None
    from ..jobs.manifest import read_manifest, remaining_jobs

    entries, settings = read_manifest(path), _settings(model, options)
    return Past(remaining_jobs(jobs, entries, settings, options["retry_failed"]), entries, settings)


def _settings(model: str | None, options: dict[str, Any]) -> Settings:
    from ..jobs.manifest import Settings

    try:
        content = b"".join(path.read_bytes() for path in model_paths(model))
    except OSError as error:
        raise ModelError(f"the model {error.filename} cannot be read: {error.strerror or error}.") from error
    return Settings(hashlib.sha256(content).hexdigest(), options["strength"])
