"""The jobs that an interrupted run has left to do, by its manifest."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from enum import IntEnum

from .entry import DONE, FAILED, Entry, Settings
from .manifest import entry_of
from .places import exists, storage_of
from .plan import Job


class State(IntEnum):
    """What a resumed run makes of a job."""

    NEW = 0
    """To denoise."""
    FOREIGN = 1
    """To denoise, but the output path holds a file that the run did not write; the caller decides whether to replace it."""
    OTHER_SETTINGS = 2
    """To denoise, but there is an output of other settings; likewise."""
    COMPLETE = 3
    """Complete, as the manifest records."""
    FAILED = 4
    """Failed before and not retried."""
    EDITED = 5
    """Complete by the manifest, but the output is now another image: it stays."""
    CONTESTED = 6
    """Known to the manifest and to be denoised anew, but the output is another program's, or changed by one: it stays."""


class Some(Collection[Job]):
    """The jobs of some states, in order.

    Args:
        jobs: All jobs.
        states: Of each job.
        chosen: The states.
    """

    def __init__(self, jobs: Collection[Job], states: bytearray, *chosen: State) -> None:
        self._jobs, self._states, self._chosen = jobs, states, frozenset(chosen)
        self._count = sum(map(states.count, chosen))

    def __iter__(self) -> Iterator[Job]:
        return itertools.compress(self._jobs if self._count else (), map(self._chosen.__contains__, self._states))

    def __len__(self) -> int:
        return self._count

    def __contains__(self, job: object) -> bool:
        return any(job == each for each in self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Collection) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


class Remaining:
    """The jobs of a resumed run by their states.

    Args:
        jobs: All jobs.
        states: Of each, a byte.
    """

    def __init__(self, jobs: Collection[Job], states: bytearray) -> None:
        self.states = states
        self.jobs = Some(jobs, states, State.NEW, State.FOREIGN, State.OTHER_SETTINGS)
        """To denoise now."""
        self.foreign, self.other_settings, self.complete, self.failed, self.edited, self.contested = (
            Some(jobs, states, state) for state in (*State,)[1:]
        )


def remaining_jobs(
    jobs: Collection[Job],
    entries: Mapping[str, Entry],
    settings: Settings,
    retry_failed: bool = False,
    overwrite: bool = False,
) -> Remaining:
    """Sort jobs by their state in a manifest.

    A job is complete if the manifest records it as done with the same settings and input, and the output has the
    recorded hash. Where another program has made another image of the output, it stays, unless `overwrite`.
    """
    states = bytearray(_state(job, entry_of(job, entries), settings, retry_failed, overwrite) for job in jobs)
    return Remaining(jobs, states)


def _state(job: Job, entry: Entry | None, settings: Settings, retry_failed: bool, overwrite: bool) -> State:
    if entry is None:
        return State.FOREIGN if is_foreign(job, None) else State.NEW
    same_work = _same_work(job, entry, settings)
    if same_work and entry.status == FAILED and not retry_failed:
        return State.FAILED
    if same_work and entry.output_sha256 is not None and _is_as_written(job, entry):
        return State.COMPLETE
    if _has_other_output(job, entry, settings):
        return State.OTHER_SETTINGS
    if not is_foreign(job, entry):
        return State.NEW
    if overwrite:
        return State.FOREIGN
    return State.EDITED if same_work and entry.status == DONE else State.CONTESTED


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
