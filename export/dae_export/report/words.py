"""Numbers of a report formatted as HTML."""

from __future__ import annotations

from collections.abc import Iterable

from .latency import Timing


def input_text(row: Timing) -> str:
    """Return the input size, such as 512 × 512."""
    size = f"{row.width_px}&nbsp;&times;&nbsp;{row.height_px}"
    return size if row.images == 1 else f"{size} <small>{row.images}&nbsp;at&nbsp;once</small>"


def threads_text(row: Timing) -> str:
    """Return the number of threads with its unit."""
    return "CUDA" if row.threads is None else f"{row.threads} thread{'s' if row.threads > 1 else ''}"


def thread_cell_text(row: Timing) -> str:
    """Return the number of threads."""
    return "CUDA" if row.threads is None else str(row.threads)


def values_text(values: Iterable[float]) -> str:
    """Return the channel values of a pixel."""
    return " ".join(f"{value:.0f}" if abs(value - round(value)) < 0.05 else f"{value:.1f}" for value in values)


def ms_text(value: float) -> str:
    """Return milliseconds with three digits."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def size_text(size_bytes: int, before: str = "", after: str = "") -> str:
    """Return a size in KiB or MiB, the unit between `before` and `after`."""
    number, unit = (f"{size_bytes / 2**20:.1f}", "MiB") if size_bytes >= 2**20 else (f"{size_bytes / 2**10:.0f}", "KiB")
    return f"{number} {before}{unit}{after}"


def count_text(value: float) -> str:
    """Return a whole number."""
    return f"{round(value):,}"


def percent_text(share: float) -> str:
    """Return a share as a percentage."""
    return f"{share:.0%}" if share in (0, 1) else f"{100 * share:.1f}%"


def signed_text(value: float, digits: int) -> str:
    """Return a number with its sign."""
    rounded = round(value, digits)
    sign = "&minus;" if rounded < 0 else "+" if rounded > 0 else "&plusmn;"
    return f"{sign}{abs(rounded):.{digits}f}"
