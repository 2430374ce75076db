"""A child that was forked after its parent had read or written an image, and the processes that it starts."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from dae_runtime.images import decode, encode

LIMIT_S = 120
_PNG = encode(np.zeros((8, 8, 3), np.uint8), "png")


def in_child(work: Callable[[], Any]) -> Any:
    """Return or raise what `work` does in a forked child, which then ends."""
    child, answers = fork_after_reading(lambda tell: tell(_outcome(work)))
    try:
        is_result, value = answer(answers)
    except EOFError:
        _, status = os.waitpid(child, 0)
        raise AssertionError(f"the child has ended, with {os.waitstatus_to_exitcode(status)}") from None
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    finally:
        os.close(answers)
    os.waitpid(child, 0)
    if not is_result:
        raise value
    return value


def fork_after_reading(work: Callable[[Callable[[Any], None]], object]) -> tuple[int, int]:
    """Return a forked child and the descriptor of its answers; `work` is given what sends one, then the child ends at once."""
    decode(_PNG)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _work_and_end(work, writing)
    os.close(writing)
    return child, reading


def _work_and_end(work: Callable[[Callable[[Any], None]], object], writing: int) -> NoReturn:
    try:
        work(lambda value: _write(writing, pickle.dumps(value)))
    finally:
        os._exit(0)


def _write(descriptor: int, data: bytes) -> None:
    data = len(data).to_bytes(8, "big") + data
    while data:
        data = data[os.write(descriptor, data) :]


def _outcome(work: Callable[[], Any]) -> tuple[bool, Any]:
    try:
        return True, work()
    except BaseException as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return False, AssertionError("".join(traceback.format_exception(error)))
        return False, error


def answer(answers: int) -> Any:
    """Return the next answer of a child."""
    return pickle.loads(_read(answers, int.from_bytes(_read(answers, 8), "big")))


def _read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        assert select.select([descriptor], [], [], LIMIT_S)[0], "the child hangs"
        part = os.read(descriptor, size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def image_process() -> int:
    """Return the process that reads and writes the images of this one."""
    decode(_PNG)
    (process,) = children()
    return process


def children() -> list[int]:
    """Return the processes that this one has started, also those that have ended and wait for it."""
    numbers = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
    return [number for number in numbers if _status(number)[1:] == [str(os.getpid())]]


def is_running(process: int) -> bool:
    return _status(process)[:1] not in ([], ["Z"])


def _status(process: int) -> list[str]:
    """Return state and parent."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[:2]
    return []
