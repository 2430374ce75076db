"""The state of an earlier run, read from its manifest."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, OutputExistsError
from ..inference import Controls, models_digest, name_of_digest
from ..jobs.entry import Entries, Entry, Settings
from ..jobs.locations import PARTS_NAME, WHOLE, ObjectPath, path_of
from ..jobs.manifest import MANIFEST_NAME, Manifest, absolute, entry_of, manifest_path, read_manifest
from ..jobs.merging import join_manifests, shard_manifest
from ..jobs.parts import has_parts, read_parts
from ..jobs.places import storage_of
from ..jobs.plan import Job, output_folder
from ..jobs.remaining import Remaining, State, is_foreign, remaining_jobs
from ..jobs.table import Table
from ..system.messages import NAMES_SHOWN, counted, listed
from ..system.paths import is_folder
from .outcome import Failure
from .request import FolderRequest


@dataclass(frozen=True)
class ResumeState:
    """The state of an earlier run for the files of this one."""

    remaining: Remaining
    entries: Mapping[str, Entry]
    """By their outputs."""
    settings: Settings
    """Of this run."""
    manifest: Path
    """The manifest or journal of the earlier run."""
    manifest_bytes: int
    """Its size before it was read."""
    models: Sequence[bytes | Path] = ()
    """The models of this run."""

    def knows(self, job: Job) -> bool:
        """Tell whether the earlier run had a job, whatever came of it."""
        return entry_of(job, self.entries) is not None

    def entry(self, job: Job) -> Entry:
        """Return the entry of a job of the earlier run."""
        entry = entry_of(job, self.entries)
        assert entry is not None
        return entry

    def accounts_for(self, job: Job) -> bool:
        """Tell whether the file at a job's output is there by the manifest; reads that file."""
        return not is_foreign(job, entry_of(job, self.entries))

    def check_outputs(self) -> None:
        """Check that only outputs of the run to resume, with this model and these settings, would be replaced.

        Raises:
            OutputExistsError: One would be.
        """
        foreign, changed = self.remaining.foreign, self.remaining.other_settings
        if foreign:
            raise OutputExistsError(
                f"{counted(len(foreign), 'file')} at output paths {'were' if len(foreign) > 1 else 'was'} not written by the "
                f"run that {self.manifest} records, or changed since: {_outputs(foreign)}. {self._former_place()}"
                "Move them away, replace them with --overwrite, or give another output."
            )
        if changed:
            raise OutputExistsError(
                f"{counted(len(changed), 'output')} of the run before {'were' if len(changed) > 1 else 'was'} made with "
                f"{self._other_settings(next(iter(changed)))}: {_outputs(changed)}. Continue with the "
                "original settings, replace these outputs with --overwrite, or give another output."
            )

    def contested(self) -> Iterator[Failure]:
        """Yield the files that cannot be denoised anew because of an output that is a person's."""
        return (
            Failure(
                job.source,
                f"{job.destination}: was changed since it was written, or is another program's, and stays; {job.source} is to "
                "be denoised anew. Move the output away, or replace it with --overwrite.",
            )
            for job in self.remaining.contested
        )

    def failures(self) -> Iterator[Failure]:
        """Yield the files that failed before and are not retried."""
        return (Failure(job.source, self.entry(job).error or str(job.source)) for job in self.remaining.failed)

    def marks(self, overwrite: bool) -> Iterator[str]:
        """Yield a note on each job for a printed plan, or an empty one."""
        foreign = "exists, not written by the run before or changed since: " + ("replaced" if overwrite else "refused")
        changed = "exists, made with another model or other settings: " + (
            "replaced" if overwrite else "refused without --overwrite"
        )
        marks = {
            State.NEW: "",
            State.FOREIGN: foreign,
            State.OTHER_SETTINGS: changed,
            State.COMPLETE: "already complete: kept",
            State.FAILED: "failed before: skipped without --retry-failed",
            State.EDITED: "complete, and changed since: kept without --overwrite",
            State.CONTESTED: "exists, changed since or another program's: fails without --overwrite",
        }
        return (marks[State(state)] for state in self.remaining.states)

    def _former_place(self) -> str:
        """Return a sentence for a manifest that was moved with its outputs, which it knows by their absolute paths."""
        output = next(iter(self.entries), "")
        here = absolute(self.manifest.parent) + os.sep
        if not output or self.manifest.name != MANIFEST_NAME or output.startswith(here):
            return ""
        return f"It records outputs elsewhere, as {output}: if the folder was moved, move it back to go on. "

    def _other_settings(self, job: Job) -> str:
        entry = self.entry(job)
        if entry.model_sha256 != self.settings.model_sha256:
            before, now = (name_of_digest(each.model_sha256, self.models) for each in (entry, self.settings))
            return f"another model, {before} instead of {now}"
        if entry.settings.value_range != self.settings.value_range:
            return f"the range {_range_text(entry.settings.value_range)} instead of {_range_text(self.settings.value_range)}"
        if entry.settings.quality != self.settings.quality:
            return f"quality {_text(entry.settings.quality)} instead of {_text(self.settings.quality)}"
        pairs = (vars(entry.settings.controls), vars(self.settings.controls))
        return ", ".join(
            f"{name} {_text(pairs[0][name], name)} instead of {_text(pairs[1][name], name)}" for name in _differing(*pairs)
        )


def _outputs(jobs: Collection[Job]) -> str:
    return listed([job.destination for job in itertools.islice(jobs, NAMES_SHOWN)], len(jobs))


def _differing(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    return [name for name, value in before.items() if value != now[name]]


def _range_text(value_range: tuple[float, float] | None) -> str:
    return "of the files" if value_range is None else f"{value_range[0]:g}:{value_range[1]:g}"


def _text(value: float | None, name: str = "") -> str:
    if value is None:
        return "chosen by itself"
    return f"{255 * value:g} of 255" if name == "sigma" else f"{value:g}"


def load_resume_state(
    jobs: Collection[Job], settings: Settings, request: FolderRequest, models: Sequence[bytes | Path]
) -> ResumeState:
    """Return the state of the earlier run of a request, by its manifests.

    Raises:
        InputError: A manifest cannot be read.
        DaeError: Another run writes to one.
    """
    whole, *own = manifests_of(request)
    manifest = own[0] if own else whole
    size, _ = storage_of(manifest).stamp(manifest)
    # A shard's own first: where it is being merged, its lines come to the other before it goes. Others of the run share that.
    outputs = Table((absolute(job.destination), None) for job in jobs) if own else None
    entries = _read(manifest, is_alone(request), outputs)
    if own:
        later, entries = entries, _read(whole, False, outputs)
        entries.update(later)
    if request.files_from is not None:
        known = (job.source for job in jobs if entry_of(job, entries) is not None)
        storage_of(path_of(request.source)).survey(known, None)
    # Without --resume what failed is tried again, as a person expects of the same command.
    retry_failed = request.retry_failed or not request.resume
    remaining = remaining_jobs(jobs, entries, settings, retry_failed, request.overwrite)
    return ResumeState(remaining, entries, settings, manifest, size, models)


def _read(manifest: Path, alone: bool, outputs: Container[str] | None) -> Entries:
    return read_parts(manifest, outputs) if isinstance(manifest, ObjectPath) else read_manifest(manifest, alone, outputs)


def manifest_of(request: FolderRequest) -> Path | None:
    """Return the path of the manifest that a request writes; None for none, which is the default for a single file.

    Raises:
        InputError: The path has an image suffix.
    """
    return next(reversed(manifests_of(request)), None)


def manifests_of(request: FolderRequest) -> tuple[Path, ...]:
    """Return the paths of the manifests that a request reads, the earlier first: that of the whole run, and a shard's own.

    Raises:
        InputError: The path has an image suffix.
    """
    source, output = path_of(request.source), path_of(request.output)
    if isinstance(source, ObjectPath):
        is_one_file = request.files_from is None and storage_of(source).is_file(source)
    else:
        is_one_file = os.path.lexists(source) and not is_folder(source)
    if request.manifest is None and not request.resumes and is_one_file:
        return ()
    if isinstance(output, ObjectPath) and request.manifest is None:
        whole: Path = output_folder(output) / PARTS_NAME / WHOLE
    else:
        whole = manifest_path(request.output, request.manifest)
    return (whole,) if request.share is None else (whole, shard_manifest(whole, request.share))


def merge_manifests(output: str | os.PathLike[str]) -> tuple[Path, int]:
    """Make one manifest of those of a run's shards, by which a run in one process, or in another number of shards, continues.

    Args:
        output: The output folder, or the manifest that the shards were given.

    Returns:
        The manifest, and the number of manifests merged into it; 0 if there are none any more.

    Raises:
        InputError: There is neither a manifest nor one of a shard.
        DaeError: A shard is still running, or a manifest cannot be read or written.
    """
    if isinstance(folder := path_of(output), ObjectPath):
        manifest: Path = folder / PARTS_NAME / WHOLE
    else:
        manifest = manifest_path(output) if is_folder(output) else folder
    count = join_manifests(manifest)
    if not count and not has_manifest(manifest):
        raise InputError(
            f"{os.fspath(output)} has no manifest. Give the output folder of a run, or the --manifest of its shards."
        )
    return manifest, count


def has_manifest(manifest: Path) -> bool:
    """Tell whether there is a manifest at a path.

    Raises:
        ImageError: The store does not answer.
    """
    return has_parts(manifest) if isinstance(manifest, ObjectPath) else os.path.lexists(manifest)


def is_alone(request: FolderRequest) -> bool:
    """Tell whether no other run may write to a request's manifest; several may append to one that is given by name."""
    return request.resumes or request.manifest is None or request.share is not None


def open_manifest(
    path: Path | None,
    settings: Callable[[], Settings],
    alone: bool = False,
    planned_bytes: int | None = None,
    check: Callable[[], None] | None = None,
) -> contextlib.AbstractContextManager[Manifest | None]:
    """Open a manifest for appending, if there is one.

    Args:
        path: The file; None for no manifest.
        settings: Returns the settings of the run; called only with a path.
        alone: Whether no other run may write to it meanwhile.
        planned_bytes: As for `Manifest`.
        check: As for `Manifest`.

    Raises:
        ModelError: A model cannot be read.
        DaeError: The manifest cannot be written.
    """
    return contextlib.nullcontext() if path is None else Manifest(path, settings(), alone, planned_bytes, check)


def run_settings(
    models: Iterable[bytes | Path],
    controls: Controls,
    value_range: tuple[float, float] | None = None,
    quality: int | None = None,
) -> Settings:
    """Return the settings that outputs depend on.

    Args:
        models: Model files or their content, as in `Denoiser.sources`.
        controls: The user's choices about the results.
        value_range: Values of black and white of float and signed TIFFs.
        quality: Of JPEG, AVIF and lossy WebP outputs.

    Raises:
        ModelError: A file cannot be read.
    """
    return Settings(models_digest(models), controls, value_range, quality)
