"""The loop of a run on a Ray cluster: workers come and go, and the driver keeps the files and the manifest.

A worker is an actor of Ray that Ray never starts again: where one is lost, its files go back to the driver, which starts
another. So no file waits for a machine that is gone.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DaeError
from ..system.interrupt import interrupted
from ..system.messages import counted
from .attempts import MOST_DEATHS, Chunk, Chunks, Item
from .cluster import Cluster
from .ledger import Ledger
from .places import storage_of
from .remote import Answer, RemoteWorker, Settings, Task
from .results import FileResult

logger = logging.getLogger(__name__)

WAIT_S = 0.5
"""Seconds after which a driver that waits looks after its workers, and whether it is to stop."""
ASK_S = 20.0
"""Seconds between two questions to a worker whether it lives."""
SILENT_S = 120.0
"""Seconds without an answer after which a worker counts as lost; Ray itself notices machines that are gone within these."""
COUNT_S = 5.0
"""Seconds between two looks at how many workers the cluster has room for."""
MOST_FAILED_STARTS = 3
"""Workers in a row that may fail to start, while there is no other."""
_LONGEST_BREAK_S = 30.0
_STOP_S = 30.0
"""Seconds that files under way get when a run ends early; an interrupted command has less."""
_STOP_INTERRUPTED_S = 0.5


@dataclass(eq=False)
class _Member:
    """A worker."""

    actor: Any
    opening: Any
    """Answer to `open`; None once it is there."""
    chunks: dict[Any, tuple[Chunk, list[Task]]] = field(default_factory=dict)
    """What it does, by the answers that are awaited."""
    question: Any = None
    asked_s: float = field(default_factory=time.monotonic)

    @property
    def awaited(self) -> list[Any]:
        return [ref for ref in (self.opening, self.question, *self.chunks) if ref is not None]

    def ask(self, method: str) -> Any:
        """Call a method beside `process`."""
        return getattr(self.actor, method).options(concurrency_group="control").remote()


class Dispatch:
    """The state of a run.

    Args:
        ray: The module, connected.
        cluster: What is asked of the cluster.
        chunks: The files.
        settings: For the workers.
        lanes: Files, or chunks of small ones, that a worker has under way at once.
        ledger: Of the run.
        cancel: As for `run_jobs`.
        note: Called with each answer of a worker.
    """

    def __init__(
        self,
        ray: Any,
        cluster: Cluster,
        chunks: Chunks,
        settings: Settings,
        lanes: int,
        ledger: Ledger,
        cancel: Callable[[], bool],
        note: Callable[[Answer], None],
    ) -> None:
        self._ray, self._cluster, self._chunks, self._lanes = ray, cluster, chunks, lanes
        self._ledger, self._cancel, self._note = ledger, cancel, note
        self._options, self._settings = settings.options, ray.put(settings)
        self._kind = ray.remote(
            num_cpus=cluster.threads,
            num_gpus=cluster.gpus_per_worker,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=lanes,
            concurrency_groups={"control": 2},
            scheduling_strategy="SPREAD",
        )(RemoteWorker)
        self._members: list[_Member] = []
        self._room, self._counted_s = 0, -COUNT_S
        self._able_s = time.monotonic()
        """When there was a worker last."""
        self._failed_starts, self._start_s, self._why = 0, 0.0, ""
        self._stopping = False
        self._lost_in: set[Path] = set()

    def results(self) -> Iterator[FileResult]:
        """Yield the results as they come.

        Raises:
            DaeError: There is no worker; or as for `run_jobs`.
        """
        while True:
            if not self._stopping and self._cancel():
                self._stop()
            if not self._stopping:
                self._start_members()
                self._send()
            if not self._awaits_files() and (self._stopping or not self._chunks.more(1)):
                return
            for member, ref in self._next():
                yield from self._take(member, ref)
            yield from self._look_after()

    def end(self) -> None:
        """Stop: files under way are finished or dropped, and recorded if they are finished in time."""
        self._stop()
        until_s = time.monotonic() + (_STOP_INTERRUPTED_S if interrupted() else _STOP_S)
        with contextlib.suppress(self._ray.exceptions.RayError, DaeError):
            while self._awaits_files() and time.monotonic() < until_s:
                for member, ref in self._next(min(WAIT_S, until_s - time.monotonic())):
                    for _ in self._take(member, ref):
                        pass
        for member in self._members:
            self._kill(member)
        for folder in self._lost_in:
            storage_of(folder).remove_unfinished([folder])

    def _awaits_files(self) -> bool:
        return any(member.chunks for member in self._members)

    def _next(self, wait_s: float = WAIT_S) -> list[tuple[_Member, Any]]:
        """Wait for answers, and return those that are there with their workers."""
        owners = {ref: member for member in self._members for ref in member.awaited}
        if not owners:
            time.sleep(wait_s)
            return []
        found, rest = self._ray.wait([*owners], num_returns=1, timeout=wait_s)
        if found and rest:
            found += self._ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        return [(owners[ref], ref) for ref in found]

    def _start_members(self) -> None:
        now_s = time.monotonic()
        if now_s - self._counted_s >= COUNT_S:
            self._room, self._counted_s = self._most_members(), now_s
        busy = sum(1 for member in self._members if member.chunks)
        wanted = min(self._room, busy + self._chunks.more(self._room))
        if self._failed_starts >= MOST_FAILED_STARTS and not self._able():
            return
        while len(self._members) < wanted and now_s >= self._start_s:
            actor = self._kind.remote()
            self._members.append(_Member(actor, actor.open.remote(self._settings)))

    def _most_members(self) -> int:
        has = self._ray.cluster_resources()
        room = has.get("CPU", 0) // self._cluster.threads
        if self._cluster.gpus_per_worker:
            room = min(room, has.get("GPU", 0) // self._cluster.gpus_per_worker)
        return max(1, int(min(room, self._cluster.workers or room)))

    def _send(self) -> None:
        """Give each worker as much as it can do at once, and one chunk more; those with the least first."""
        for load in range(self._lanes + 1):
            for member in self._members:
                if member.opening is not None or len(member.chunks) != load:
                    continue
                if any(chunk.alone for chunk, _ in member.chunks.values()):
                    continue
                if (chunk := self._chunks.take(idle=not member.chunks)) is None:
                    return
                tasks = [self._ledger.task(item) for item in chunk.items]
                member.chunks[member.actor.process.remote(tasks)] = chunk, tasks

    def _take(self, member: _Member, ref: Any) -> Iterator[FileResult]:
        """Take an answer of a worker."""
        if member not in self._members:
            return  # lost meanwhile
        try:
            answer = self._ray.get(ref, timeout=SILENT_S)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            if ref is not member.opening:
                raise cause from None
            self._note_failed_start(member, str(cause))
            return
        except self._ray.exceptions.RayError as error:
            yield from self._lose(member, error)
            return
        if ref is member.opening:
            member.opening, self._failed_starts = None, 0
        elif ref is member.question:
            member.question = None
        else:
            _, tasks = member.chunks.pop(ref)
            self._note(answer)
            told = {task.job: task for task in tasks}
            found = [(row.result.job, self._ledger.settle(row, told[row.result.job])) for row in answer.rows]
            self._chunks.put_back([Chunk([Item(job, begun=True)]) for job, result in found if result is None])
            for _, result in found:
                if result is not None:
                    yield self._counted(result)

    def _counted(self, result: FileResult) -> FileResult:
        if result.error is not None and self._options.fail_fast:
            self._stop()
        return result

    def _lose(self, member: _Member, why: object) -> Iterator[FileResult]:
        """Go on without a worker: its files go to others, but one that has been with too many lost workers has failed."""
        logger.debug("a worker is lost: %s", why)
        if member.opening is not None:
            self._note_failed_start(member, f"a worker ended while it started: {why}")
            return
        self._members.remove(member)
        self._kill(member)
        chunks = [chunk for chunk, _ in member.chunks.values()]
        if chunks:
            files = counted(sum(len(chunk.items) for chunk in chunks), "file")
            logger.warning("a worker was lost, and %s with it; they are done again", files)
        for chunk in reversed(chunks):
            self._lost_in |= {item.job.destination.parent for item in chunk.items}
            if self._stopping:
                continue
            again = chunk.lost()
            self._chunks.put_back(again)
            if not again:
                yield self._counted(self._ledger.give_up(chunk.items[0].job, MOST_DEATHS))

    def _note_failed_start(self, member: _Member, why: str) -> None:
        """Go on without a worker that did not start; the next one is tried after a while."""
        self._members.remove(member)
        self._kill(member)
        self._why = why
        self._failed_starts += 1
        if not self._members and self._failed_starts >= MOST_FAILED_STARTS:
            raise DaeError(f"no worker of the cluster could start: {why}")
        self._start_s = time.monotonic() + (min(_LONGEST_BREAK_S, 2.0**self._failed_starts) if self._able() else 0.0)

    def _able(self) -> bool:
        """Tell whether there is a worker."""
        return any(member.opening is None for member in self._members)

    def _look_after(self) -> Iterator[FileResult]:
        """Ask workers whether they live, and end the run where there is none for too long."""
        now_s = time.monotonic()
        if self._able():
            self._able_s = now_s
        elif now_s - self._able_s > self._cluster.patience_s:
            has, free = self._ray.cluster_resources(), self._ray.available_resources()
            nodes = sum(1 for node in self._ray.nodes() if node["Alive"])
            raise DaeError(
                f"no worker could be started within {self._cluster.patience_s:g} seconds: each needs {self._cluster.needs} of "
                f"one machine. The cluster has {counted(nodes, 'machine')} with {has.get('CPU', 0):g} CPUs, of which "
                f"{free.get('CPU', 0):g} are free, and {has.get('GPU', 0):g} GPUs. {self._why}".rstrip()
            )
        for member in [each for each in self._members if each.chunks]:
            if member.question is None:
                if now_s - member.asked_s > ASK_S:
                    member.question, member.asked_s = member.ask("answers"), now_s
            elif now_s - member.asked_s > SILENT_S:
                yield from self._lose(member, "it does not answer")

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            for member in self._members:
                if member.chunks:
                    member.ask("stop")

    def _kill(self, member: _Member) -> None:
        with contextlib.suppress(Exception):  # it may have ended, and so may the cluster
            self._ray.kill(member.actor)
