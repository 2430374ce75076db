"""What the tests of folder runs share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dae_runtime import Denoiser


@pytest.fixture
def denoiser(blur_file: Path) -> Iterator[Denoiser]:
    with Denoiser(blur_file, "cpu", 1) as opened:
        yield opened
