"""Many command lines as processes of their own, each forked from one process that has imported what the command needs.

    python forked.py MODULE [IMPORTED...] < CASES > RESULTS

A case and its result are a line of JSON each. Permissions bind the processes also where root starts them.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_CAPABILITIES_VERSION = 0x20080522
"""Of capset(2): 3."""


@dataclass(frozen=True)
class Case:
    """A command line, the folder in which it runs, and how its standard streams are opened: `null`, `full`, `closed` or "".

    After `interrupt_s` seconds it is interrupted, after a minute more killed.
    """

    arguments: Sequence[str]
    folder: Path
    streams: tuple[str, str, str] = ("null", "", "")
    interrupt_s: float | None = None


@dataclass(frozen=True)
class Ended:
    """What a command line ended in."""

    code: int
    """-9 if it did not end in time."""
    stdout: str
    stderr: str


def run_forked(module: str, cases: Iterable[Case], *imported: str, timeout_s: float = 600) -> list[Ended]:
    """Run command lines of the module with a function `main`, one after the other; import further modules once."""
    lines = [json.dumps([list(case.arguments), str(case.folder), case.streams, case.interrupt_s]) for case in cases]
    done = subprocess.run(
        [sys.executable, __file__, module, *imported],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Ended(*json.loads(line)) for line in done.stdout.splitlines()]


def _open(stream: int, how: str, captured: int) -> None:
    if how == "closed":
        os.close(stream)
        return
    name = {"null": os.devnull, "full": "/dev/full"}.get(how)
    os.dup2(captured if name is None else os.open(name, os.O_RDWR), stream)


def _child(arguments: list[str], folder: str, streams: list[str], captured: tuple[int, int], main: str) -> None:
    os.setsid()
    os.chdir(folder)
    ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0), (ctypes.c_uint32 * 6)())
    for stream, how in enumerate(streams):
        _open(stream, how, (0, *captured)[stream])
    sys.argv = [main.split(".")[0].replace("_", "-"), *arguments]
    for name, stream in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        new = None
        if streams[stream] != "closed":
            new = open(stream, "r" if stream == 0 else "w", closefd=False, errors="surrogateescape")  # noqa: SIM115
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    importlib.import_module(main).main()


def _run(line: str, module: str) -> tuple[int, str, str]:
    arguments, folder, streams, interrupt_s = json.loads(line)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            code = 99
            try:
                _child(arguments, folder, streams, (out.fileno(), err.fileno()), module)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 98 if end.code else 0
            except BaseException:
                os.write(err.fileno(), traceback.format_exc().encode())
            finally:
                for stream in (sys.stdout, sys.stderr):
                    with contextlib.suppress(OSError, AttributeError):
                        stream.flush()
                os._exit(code)
        code = _wait(child, interrupt_s)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return code, texts[0], texts[1]


def _wait(child: int, interrupt_s: float | None) -> int:
    watched = os.pidfd_open(child)
    waits = [(60, signal.SIGKILL)] if interrupt_s is None else [(interrupt_s, signal.SIGTERM), (10, signal.SIGKILL)]
    for seconds, number in waits:
        if not select.select([watched], [], [], seconds)[0]:
            os.kill(child, number)
    os.close(watched)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    target = sys.argv[1]
    importlib.import_module(target)
    for name in sys.argv[2:]:
        importlib.import_module(name)
    for text in sys.stdin.read().splitlines():
        print(json.dumps(_run(text, target)), flush=True)
