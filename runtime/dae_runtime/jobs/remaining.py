"""The jobs that an interrupted run has left to do, by its manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .entry import DONE, FAILED, Entry, Settings
from .manifest import entry_of
from .places import exists, storage_of
from .plan import Job


@dataclass(frozen=True)
class Remaining:
    """The jobs of a resumed run, each list in order."""

    jobs: list[Job]
    """To denoise now."""
    complete: list[Job]
    """Complete, as the manifest records."""
    failed: list[Job]
    """Failed before and not retried."""
    edited: list[Job]
    """Complete by the manifest, but the output is now another image: it stays."""
    contested: list[Job]
    """Known to the manifest and to be denoised anew, but the output is another program's, or changed by one: it stays."""
    other_settings: list[Job]
    """Those of `jobs` with an existing output of other settings; the caller decides whether to replace it."""
    foreign: list[Job]
    """Those of `jobs` whose output path holds a file that the run did not write; likewise."""


def remaining_jobs(
    jobs: Iterable[Job], entries: Mapping[str, Entry], settings: Settings, retry_failed: bool = False, overwrite: bool = False
) -> Remaining:
    """Sort jobs by their state in a manifest.

    A job is complete if the manifest records it as done with the same settings and input, and the output has the
    recorded hash. Where another program has made another image of the output, it stays, unless `overwrite`.
    """
    remaining = Remaining([], [], [], [], [], [], [])
    for job in jobs:
        entry = entry_of(job, entries)
        (remaining.jobs if entry is None else _place(job, entry, remaining, settings, retry_failed, overwrite)).append(job)
    known = {*remaining.other_settings}
    remaining.foreign.extend(job for job in remaining.jobs if job not in known and is_foreign(job, entry_of(job, entries)))
    return remaining


def _place(job: Job, entry: Entry, remaining: Remaining, settings: Settings, retry_failed: bool, overwrite: bool) -> list[Job]:
    """Return the list that a job belongs to by its entry; note those of other settings."""
    same_work = _same_work(job, entry, settings)
    if same_work and entry.status == FAILED and not retry_failed:
        return remaining.failed
    if same_work and entry.output_sha256 is not None and _is_as_written(job, entry):
        return remaining.complete
    if _has_other_output(job, entry, settings):
        remaining.other_settings.append(job)
        return remaining.jobs
    if overwrite or not is_foreign(job, entry):
        return remaining.jobs
    return remaining.edited if same_work and entry.status == DONE else remaining.contested


def _same_work(job: Job, entry: Entry, settings: Settings) -> bool:
    return entry.settings == settings and (entry.source_bytes, entry.source_mtime_ns) == storage_of(job.source).stamp(
        job.source
    )


def _has_other_output(job: Job, entry: Entry, settings: Settings) -> bool:
    return entry.status == DONE and entry.settings != settings and exists(job.destination)


def is_foreign(job: Job, entry: Entry | None) -> bool:
    """Tell whether a job's destination holds a file that its last entry does not account for.

    A finished output that is no longer a valid image counts as damaged, not as foreign.
    """
    if not exists(job.destination):
        return False
    if entry is None or entry.status == FAILED:
        return True
    if entry.output_sha256 is None:  # begun by a version that did not record it
        return False
    return not _is_as_written(job, entry) and storage_of(job.destination).is_whole(job.destination)


def _is_as_written(job: Job, entry: Entry) -> bool:
    storage = storage_of(job.destination)
    if entry.output_mark is not None and storage.stamp(job.destination)[1] == entry.output_mark:
        return True
    return storage.sha256(job.destination) == entry.output_sha256
