"""Where a run that is continued stands."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dae_runtime.contract import RunDirectory

from ..errors import RunError
from ..judging.history import Row, read_history

_LOG = logging.getLogger("dae_train")


def continue_from(
    run: RunDirectory, restore: Callable[[Path], int], share: Callable[[Callable[[], Any]], Any] = lambda make: make()
) -> list[Row]:
    """Restore the last model of a run and return the history up to it.

    The history is written before the model: a kill in between leaves an extra row, which is trained again. `share` returns
    what its argument returns in the process that has the files.

    Raises:
        RunError: Model and history do not match.
    """
    step = restore(run.last_model)
    kept: list[Row] = share(lambda: _rows_until(run, step))
    _LOG.info("continuing after epoch %d", len(kept))
    return kept


def _rows_until(run: RunDirectory, step: int) -> list[Row]:
    kept = [row for row in read_history(run.history) if row["step"] <= step]
    if not kept or kept[-1]["step"] != step:
        raise RunError(f"{run.last_model} is at step {step}, which {run.history} lacks. Start the run again with --overwrite.")
    return kept
