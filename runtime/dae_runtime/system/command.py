"""Exit codes and error output shared by the three commands.

0 done   1 failed   2 wrong usage   3 finished, but some files failed   130 interrupted
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import click

from ..errors import DaeError, ImageError, InputError, MissingDependencyError
from .atomic import remove_own_unfinished
from .interrupt import EXIT_INTERRUPTED as EXIT_INTERRUPTED
from .interrupt import end_on_signals, interrupted
from .messages import printable
from .paths import check_reachable
from .standard_streams import lost_messages, protect_standard_streams, release_output

_log = logging.getLogger("dae_runtime")

EXIT_FAILED = 1
EXIT_SOME_FILES_FAILED = 3


class ReachablePath(click.Path):
    """A path that can be looked at: the type of click says of others that nothing is there."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or end in a usage error."""
        try:
            check_reachable(value, "the path")
        except (ImageError, InputError) as error:
            self.fail(str(error), param, ctx)
        return super().convert(value, param, ctx)


def run_command(command: click.Command) -> None:
    """Run a click command on `sys.argv` and leave the process with the right exit code.

    A `DaeError`, and an error of the operating system, becomes one line on standard error; any other exception is a bug and
    keeps its traceback. Messages that cannot be written stop nothing; the exit code is then not 0. SIGINT and
    SIGTERM end the command within two seconds.
    """
    protect_standard_streams()
    end_on_signals()
    code = _exit_code(command)
    release_output()
    losses = lost_messages()
    for name, error in losses.items():
        if error.errno != errno.EPIPE:  # a reader that has gone (`| head`) needs no word
            click.echo(f"error: {name} cannot be written: {error.strerror}", err=True)
    code = code or (EXIT_FAILED if losses else 0)
    if interrupted():  # threads and libraries may still be at work, and Python's own end can abort among them
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _exit_code(command: click.Command) -> int:
    try:
        result = command.main(standalone_mode=False)
    except BaseException as error:
        if not interrupted() and not isinstance(error, click.Abort):
            return _told(error)
        remove_own_unfinished()  # of threads that do not see that the command ends
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0


def _told(error: BaseException) -> int:
    """Say in one line what ended a command, and return its exit code; raise what is a bug."""
    try:
        raise error
    except click.ClickException as error:
        vars(error)["message"] = printable(error.message)
        error.show()
        dashed = [name for name in sys.argv[1:] if name.startswith("-") and os.path.lexists(name)]
        if isinstance(error, click.NoSuchOption) and dashed:
            click.echo(f"A file whose name begins with - is written ./{printable(dashed[0])}", err=True)
        if "unexpected extra argument" in error.message:
            click.echo("Many files are named by their folder, or by a pattern in quotes, such as 'photos/*.jpg'.", err=True)
        return error.exit_code
    except DaeError as error:
        echo(f"error: {error}", err=True)
    except BrokenPipeError:
        pass  # the reader has gone: stay quiet
    except OSError as error:
        _log.debug("", exc_info=True)
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        echo(f"error: {where}{error.strerror or error}.", err=True)
    except MemoryError:
        _log.debug("", exc_info=True)
        click.echo("error: the work does not fit into memory. Free memory, or give smaller images.", err=True)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else EXIT_FAILED if error.code else 0
    return EXIT_FAILED


def echo(text: str, err: bool = False) -> None:
    """Print a message, `printable`, on standard output or error."""
    click.echo(printable(text, lines=True), err=err)


class PrintableFormatter(logging.Formatter):
    """Formats log lines as `echo` prints messages."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the message of a record."""
        return printable(super().formatMessage(record), lines=True)


def require(command: str, extra: str, *modules: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Raises:
        MissingDependencyError: One of `modules` is not installed; the text names the install command.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"{command} needs {', '.join(missing)}, which the base install leaves out. "
            f"Install it with: pip install 'edge-denoiser[{extra}]', or in a checkout: pip install '.[{extra}]'"
        )


def import_quietly(name: str) -> Any:
    """Import a module that loads TensorFlow, without the messages of its start; errors are raised as exceptions."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with buffered_stderr():
        return importlib.import_module(name)


@contextlib.contextmanager
def buffered_stderr() -> Iterator[None]:
    """Buffer what is written to file descriptor 2, also by C++ code, and print it only if the block raises.

    For loading TensorFlow, whose startup messages no setting silences.
    """
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            with contextlib.suppress(OSError):
                os.write(real, kept.read())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)
