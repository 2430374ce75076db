"""Runs of a model with the output in a device's memory: it stays there until it is copied, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..contract import INPUT_NAME, OUTPUT_NAME, SIGMA_NAME

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def run_bound(
    session: Any,
    batch: npt.NDArray[np.generic],
    memory: str,
    number: int,
    sigma: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.generic]:
    """Run a model whose output stays in the device's memory until it is copied, once, into the array that is returned.

    Args:
        session: From `open_session`.
        batch: As `run_session` takes it.
        memory: Whose memory, as onnxruntime names it: `cuda` or `cpu`.
        number: Which device of that kind.
        sigma: As `run_session` takes it.
    """
    binding = session.io_binding()  # one for each call: threads may share the session
    binding.bind_cpu_input(INPUT_NAME, batch)
    if sigma is not None:
        binding.bind_cpu_input(SIGMA_NAME, sigma)
    binding.bind_output(OUTPUT_NAME, memory, number)
    session.run_with_iobinding(binding)
    result: npt.NDArray[np.generic] = binding.copy_outputs_to_cpu()[0]
    return result
