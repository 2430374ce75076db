"""What the tests of precision share."""

from __future__ import annotations

import numpy as np
import pytest

from dae_export.measure.batches import Leveled


@pytest.fixture(scope="session")
def leveled_samples():
    """Eight noisy images in color with their levels, from 0.005 to 0.05."""
    numbers = np.random.default_rng(0)
    clean = numbers.random((8, 8, 8, 3), np.float32).repeat(4, 1).repeat(4, 2)
    sigma = np.linspace(0.005, 0.05, 8, dtype=np.float32)[:, None]
    return Leveled(clean + sigma[:, :, None, None] * numbers.standard_normal(clean.shape, np.float32), sigma)
