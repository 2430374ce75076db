"""What an earlier run has left for this one, as its manifest says."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelError, OutputExistsError
from ..inference import Controls
from ..jobs.manifest import Entry, Manifest, Settings, entry_of, manifest_path, read_manifest
from ..jobs.plan import Job
from ..jobs.remaining import Remaining, remaining_jobs
from ..system.messages import counted, listed
from .outcome import Failure
from .request import FolderRequest


@dataclass(frozen=True)
class Past:
    """What the manifest of an earlier run says of the files of this one."""

    remaining: Remaining
    entries: Mapping[str, Entry]
    settings: Settings
    """Of this run."""

    def check_outputs(self) -> None:
        """Check that nothing would be replaced but what the run to resume has made with this model and these settings.

        Raises:
            OutputExistsError: Something would.
        """
        foreign, others = self.remaining.foreign, self.remaining.others
        if foreign:
            raise OutputExistsError(
                f"{counted(len(foreign), 'file')} where outputs belong {'are' if len(foreign) > 1 else 'is'} not of the run "
                f"to resume, or changed since: {listed([job.destination for job in foreign])}. Move them away, replace them "
                "with --overwrite, or give another output."
            )
        if others:
            raise OutputExistsError(
                f"{counted(len(others), 'output')} of the run to resume {'were' if len(others) > 1 else 'was'} made with "
                f"{self._other_settings(others[0])}: {listed([job.destination for job in others])}. Resume with what it was "
                "begun with, give --overwrite to make anew what differs, or give another output."
            )

    def failures(self) -> tuple[Failure, ...]:
        """Return the files that are left alone because they failed before."""
        entries = [(job, entry_of(job, self.entries)) for job in self.remaining.failed]
        return tuple(Failure(job.source, entry.error if entry and entry.error else str(job.source)) for job, entry in entries)

    def marks(self, overwrite: bool) -> dict[Job, str]:
        """Return, for a printed plan, what is special about a job."""
        foreign = "exists, not of the run to resume or changed since: " + ("replaced" if overwrite else "refused")
        others = "exists, made with another model or other settings: " + (
            "replaced" if overwrite else "refused without --overwrite"
        )
        return {
            **dict.fromkeys(self.remaining.complete, "complete already: left as it is"),
            **dict.fromkeys(self.remaining.failed, "failed before: left out without --retry-failed"),
            **dict.fromkeys(self.remaining.others, others),
            **dict.fromkeys(self.remaining.foreign, foreign),
        }

    def _other_settings(self, job: Job) -> str:
        entry = entry_of(job, self.entries)
        assert entry is not None  # what else would it be known from
        if entry.model_sha256 != self.settings.model_sha256:
            return f"another model (SHA-256 {entry.model_sha256[:12]}..., this one's is {self.settings.model_sha256[:12]}...)"
        pairs = (vars(entry.settings.controls), vars(self.settings.controls))
        return ", ".join(f"{name} {_text(pairs[0][name])} instead of {_text(pairs[1][name])}" for name in _differing(*pairs))


def _differing(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    return [name for name, value in before.items() if value != now[name]]


def _text(value: float | None) -> str:
    return "chosen by itself" if value is None else f"{value:g}"


def look_back(jobs: Iterable[Job], manifest: Path, settings: Settings, retry_failed: bool) -> Past:
    """Return what the run of a manifest has left.

    Raises:
        InputError: The manifest cannot be read.
    """
    entries = read_manifest(manifest)
    return Past(remaining_jobs(jobs, entries, settings, retry_failed), entries, settings)


def manifest_of(request: FolderRequest) -> Path | None:
    """Return where the manifest of a request is or will be; None if there shall be none.

    Raises:
        InputError: It is named as an image.
    """
    if request.manifest is None and not request.resumes:
        return None
    return manifest_path(request.output, request.manifest)


def open_manifest(
    path: Path | None, models: Iterable[bytes | Path], controls: Controls
) -> contextlib.AbstractContextManager[Manifest | None]:
    """Open a manifest to append to, if there shall be one.

    Args:
        path: Where; None for no manifest.
        models: As for `run_settings`.
        controls: Likewise.

    Raises:
        ModelError: A model cannot be read.
        DaeError: The manifest cannot be written.
    """
    return contextlib.nullcontext() if path is None else Manifest(path, run_settings(models, controls))


def run_settings(models: Iterable[bytes | Path], controls: Controls) -> Settings:
    """Return what outputs are made with.

    Args:
        models: Files of the models, or their content, as in `Denoiser.sources`.
        controls: What the user decides about the results.

    Raises:
        ModelError: A file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for model in models:
            digest.update(model if isinstance(model, bytes) else model.read_bytes())
    except OSError as error:
        raise ModelError(f"the model {error.filename} cannot be read: {error.strerror or error}.") from error
    return Settings(digest.hexdigest(), controls)
