"""PSNR on the device is that of the runtime."""

import numpy as np
import pytest

from dae_runtime.pixels.metrics import psnr_db
from dae_runtime.pixels.metrics import psnr_of_mse as on_numpy
from dae_train.judging.image_metrics import Psnr, psnr_of_mse
from dae_train.judging.validation import EstimatedPsnr


@pytest.mark.parametrize("mse", [1.0, 0.01, 3.7e-5])
def test_both_homes_agree(mse: float) -> None:
    assert float(psnr_of_mse(mse, 1e-12)) == pytest.approx(on_numpy(mse), abs=1e-4)


def test_ceilings() -> None:
    assert float(psnr_of_mse(0.0, 1e-12)) == pytest.approx(120, abs=1e-4)
    image = np.full((2, 4, 4, 1), 0.5, np.float32)
    exact, estimate = Psnr(name="psnr"), EstimatedPsnr(0.3, name="estimate")
    for metric in (exact, estimate):
        metric.update_state(image, image + 0.1)
    assert float(exact.result()) == pytest.approx(psnr_db(image, image + 0.1), abs=1e-4)
    assert float(estimate.result()) == pytest.approx(60, abs=1e-4)  # less error than noise: not told from 60 dB
