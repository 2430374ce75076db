"""`dae-run --self-test`: check that this device computes what the exporter computed."""

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
    """Return the likely cause of a failed self-test, and the remedy."""
    if denoiser.device == "cpu" and denoiser.model.precision == "int8" and saturates(load_engine()):
        return (
            "this processor saturates sums at 16 bits, which the file claims to stay within: it is damaged, or not from "
            "dae-export. Export the model again; dae-export --check FILE shows the layer at fault"
        )
    return "onnxruntime, a driver or the file differs from the export: export the model again, or use device cpu"
