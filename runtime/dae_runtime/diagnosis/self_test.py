"""The self-test: does this device compute what the exporter computed?"""

from __future__ import annotations

from ..engine.golden import Replay, compare, golden_arrays
from ..engine.saturation import saturates
from ..engine.session import load_engine
from ..inference import Denoiser


def self_test(denoiser: Denoiser) -> Replay:
    """Replay the model's golden sample on the denoiser's device.

    Raises:
        DaeError: The model cannot be run.
    """
    return compare(denoiser.replay(), golden_arrays(denoiser.model)[1], denoiser.model)


def failure_cause(denoiser: Denoiser) -> str:
    """Return why a self-test failed, as far as that is known, and what to do."""
    if denoiser.device == "cpu" and denoiser.model.precision == "int8" and saturates(load_engine()):
        return (
            "this processor cuts off sums of 16 bits, and the file says that it keeps within them: it is damaged, or not of "
            "dae-export. Export the model again; dae-export --check FILE tells which layer is at fault"
        )
    return "onnxruntime, a driver or the file differs from what made it: export the model again, or use device cpu"
