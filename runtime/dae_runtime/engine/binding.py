"""Run a model with its output bound to device memory."""

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
    options: Any = None,
) -> npt.NDArray[np.generic]:
    """Run a model with its output in device memory, and return a copy of it in host memory.

    Args:
        session: From `open_session`.
        batch: As `run_session` takes it.
        memory: The memory in onnxruntime's terms: `cuda` or `cpu`.
        number: Index of the device of that kind.
        sigma: As in `run_session`.
        options: onnxruntime's `RunOptions`; None for its defaults.
    """
    binding = session.io_binding()  # one per call: threads may share the session
    binding.bind_cpu_input(INPUT_NAME, batch)
    if sigma is not None:
        binding.bind_cpu_input(SIGMA_NAME, sigma)
    binding.bind_output(OUTPUT_NAME, memory, number)
    session.run_with_iobinding(binding, options)
    result: npt.NDArray[np.generic] = binding.copy_outputs_to_cpu()[0]
    return result
