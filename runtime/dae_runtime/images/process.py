"""The image process as its parent has it: started, and ended.

It is a fresh Python that imports this package and nothing of the program, so libvips and its threads start there as anywhere.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from multiprocessing import spawn
from pathlib import Path

from ..errors import ImageError
from .channel import Channel, socket_pair
from .vips import FORKED, FORKED_REMEDY

_END_S = 5.0
"""How long a killed process may take to end."""
_LONGEST_REASON = 200
_CODE = "import sys; sys.path[:] = {path}; from {package}.serving import serve; serve({descriptor})"
_FLAGS = {"I": "isolated", "E": "ignore_environment", "s": "no_user_site", "S": "no_site", "B": "dont_write_bytecode"}
"""Options of Python that decide what it imports, by their names in `sys.flags`."""


class ImageProcess:
    """A running image process.

    Raises:
        ImageError: It cannot be started.
    """

    def __init__(self) -> None:
        near, far = socket_pair()
        try:
            self._process = subprocess.Popen(
                [_executable(), *_options(), "-c", _code(far.fileno())],
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(far.fileno(),),
                start_new_session=True,  # Ctrl-C is for its parent, with which it ends
            )
        except BaseException as error:
            near.close()
            if isinstance(error, OSError):
                raise not_started(str(error)) from error
            raise
        finally:
            far.close()
        self._control = Channel(near)
        self.is_ready = False
        self.channels: set[Channel] = set()
        """All that are open."""
        self.idle: list[Channel] = []

    def has_ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def open_channel(self) -> Channel:
        """Return a new channel, on which it will say that it is ready."""
        near, far = socket_pair()
        channel = Channel(near)
        self.channels.add(channel)
        with far, contextlib.suppress(EOFError):  # the channel then is closed, too
            self._control.send("channel", [far.fileno()])
        return channel

    def ready(self) -> None:
        """Note that it has started."""
        self.is_ready = True
        self._close_words()

    def close(self) -> None:
        """Close what this process has of it; it ends by that, unless this process is a fork of its parent."""
        for channel in (self._control, *self.channels):
            channel.close()
        self.channels.clear()
        self.idle.clear()

    def forget(self) -> None:
        """Close it in a fork of its parent, which cannot wait for it."""
        self.close()
        self._close_words()
        self._process.returncode = 0

    def end(self, patience_s: float = 0.0) -> str:
        """End it, unless it does so in time, and return how it has ended, as what follows its name."""
        for patience in (patience_s, _END_S):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
            self._process.kill()
        code, words = self._process.returncode, self._words()
        if code is not None and code < 0:
            known = {number.value: number.name for number in signal.Signals}
            return f"ended by {known.get(-code, f'signal {-code}')}"
        return f"ended with exit code {code}" + (f": {words}" if words else "")

    def _words(self) -> str:
        """Return the last line of its standard error."""
        stream = self._process.stderr
        if stream is None or stream.closed:
            return ""
        with contextlib.closing(stream):
            os.set_blocking(stream.fileno(), False)
            lines = (stream.read() or b"").decode("utf-8", "replace").split("\n")
        return next((line.strip()[:_LONGEST_REASON] for line in reversed(lines) if line.strip()), "")

    def _close_words(self) -> None:
        if self._process.stderr is not None:
            self._process.stderr.close()


def not_started(reason: str) -> ImageError:
    """Return the error of a child in which libvips does not work, and no other process does it instead."""
    return ImageError(f"{FORKED}, and no process can do it instead ({reason}). {FORKED_REMEDY}")


def _code(descriptor: int) -> str:
    package = __name__.rpartition(".")[0]
    root = os.fspath(Path(__file__).parents[package.count(".") + 1])  # should the path have changed
    path = [*(entry for entry in sys.path if isinstance(entry, str)), root]
    return _CODE.format(path=ascii(path), package=package, descriptor=descriptor)


def _options() -> list[str]:
    return [f"-{letter}" for letter, name in _FLAGS.items() if getattr(sys.flags, name)]


def _executable() -> str:
    """Return the Python interpreter; `sys.executable` of a program that embeds Python, or is frozen, is the program itself.

    Raises:
        ImageError: None is known.
    """
    given = os.fsdecode(spawn.get_executable() or b"")
    is_program = getattr(sys, "frozen", False) or not any(name in Path(given).name.lower() for name in ("python", "pypy"))
    if given and (given != sys.executable or not is_program):
        return given
    installed = Path(sys.exec_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if installed.is_file():
        return os.fspath(installed)
    raise not_started(
        f"{given or 'sys.executable, which is empty,'} is no Python interpreter: name one with multiprocessing.set_executable"
    )
