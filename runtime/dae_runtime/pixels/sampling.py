"""Parts of a large image that stand for the whole: what is measured on them costs the same for any size."""

from __future__ import annotations

import math
from collections.abc import Iterator

WINDOW_PX = 128
MOST_WINDOWS = 64
Window = tuple[slice, slice]


def sample_windows(height: int, width: int) -> Iterator[Window]:
    """Yield rows and columns of up to 64 squares of 128 pixels, spread evenly; the whole of an image that is not larger."""
    if height * width <= MOST_WINDOWS * WINDOW_PX**2:
        yield slice(0, height), slice(0, width)
        return
    down = max(1, round(math.sqrt(MOST_WINDOWS * height / width)))
    across = MOST_WINDOWS // max(1, min(down, MOST_WINDOWS))
    for top in _starts(height, min(down, MOST_WINDOWS)):
        for left in _starts(width, across):
            yield slice(top, top + WINDOW_PX), slice(left, left + WINDOW_PX)


def _starts(length: int, count: int) -> list[int]:
    """Return where windows begin along one axis, as many as fit side by side at most."""
    count = max(1, min(count, length // WINDOW_PX))
    room = max(0, length - WINDOW_PX)
    return [room // 2] if count == 1 else [room * number // (count - 1) for number in range(count)]
