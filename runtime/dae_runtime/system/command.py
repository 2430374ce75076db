"""Exit codes and error output shared by the three commands.

0 done   1 failed   2 wrong usage   3 finished, but some files failed   130 interrupted
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator

import click

from ..errors import DaeError, MissingDependencyError
from .atomic import remove_own_unfinished
from .interrupt import EXIT_INTERRUPTED as EXIT_INTERRUPTED
from .interrupt import end_on_signals

EXIT_FAILED = 1
EXIT_SOME_FILES_FAILED = 3


def run_command(command: click.Command) -> None:
    """Run a click command on `sys.argv` and leave the process with the right exit code.

    A `DaeError` becomes one line on standard error; any other exception is a bug and keeps its traceback. SIGINT and SIGTERM
    end the command within two seconds.
    """
    end_on_signals()
    try:
        result = command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        dashed = [name for name in sys.argv[1:] if name.startswith("-") and os.path.lexists(name)]
        if isinstance(error, click.NoSuchOption) and dashed:
            click.echo(f"A file whose name begins with - is written ./{dashed[0]}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        remove_own_unfinished()  # of threads that do not see that the command ends
        click.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except DaeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_FAILED)
    except BrokenPipeError:
        # The reader has gone (`| head`): stay quiet, also when the interpreter flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    sys.exit(result if isinstance(result, int) else 0)


def require(command: str, extra: str, *modules: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Raises:
        MissingDependencyError: One of `modules` is not installed; the text names the install command.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"{command} needs {', '.join(missing)}, which the base install leaves out. "
            f"Install it with: pip install '.[{extra}]', in the folder that this package was installed from"
        )


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
            os.write(real, kept.read())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)
