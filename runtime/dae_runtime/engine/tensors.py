"""Check of a model's input and output tensors against its contract."""

from __future__ import annotations

from typing import Any

from ..contract import INPUT_NAME, NCHW, OUTPUT_NAME, SIGMA_NAME, Contract
from ..errors import ModelError

_TENSOR_TYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)"}


def check_tensors(session: Any, contract: Contract, where: str) -> None:
    """Check the inputs and the output of an opened model.

    Args:
        session: An `onnxruntime.InferenceSession`.
        contract: The contract of the file.
        where: Origin of the model, for error messages.

    Raises:
        ModelError: They contradict the contract.
    """
    size = contract.fixed_size or (None, None)
    form = contract.sigma.form if contract.sigma else ""
    noisy = (INPUT_NAME, contract.io_dtype, *_image(contract, contract.channels + (form == "plane")))
    output = (OUTPUT_NAME, contract.io_dtype, *_image(contract, contract.channels))
    sigma = {
        "value": [(SIGMA_NAME, "float32", (None, 1), "(N, 1)")],
        "map": [(SIGMA_NAME, "float32", (None, 1, *size), "(N, 1, H, W)")],
    }
    for kind, expected, tensors in (
        ("input", [noisy, *sigma.get(form, [])], session.get_inputs()),
        ("output", [output], session.get_outputs()),
    ):
        by_name = {tensor.name: tensor for tensor in tensors}
        if len(tensors) == len(expected) and all(
            name in by_name and _fits(by_name[name], dtype, sides) for name, dtype, sides, _ in expected
        ):
            continue
        wanted = " and ".join(f"one {kind} {name!r}, {dtype} of shape {text}" for name, dtype, _, text in expected)
        received = ", ".join(f"{tensor.name!r} {tensor.type} {tensor.shape}" for tensor in tensors)
        raise ModelError(
            f"{where} contradicts its contract: expected {wanted}; the file has {received}. Export the model again."
        )


def _image(contract: Contract, channels: int) -> tuple[tuple[int | None, ...], str]:
    """Return the shape of images of a file, and the shape as text; None is free."""
    size = contract.fixed_size or (None, None)
    height, width = (side or name for side, name in zip(size, "HW", strict=True))
    if contract.layout == NCHW:
        return (None, channels, *size), f"(N, {channels}, {height}, {width})"
    return (None, *size, channels), f"(N, {height}, {width}, {channels})"


def _fits(tensor: Any, dtype: str, sides: tuple[int | None, ...]) -> bool:
    """Tell whether a tensor has an element type and a shape; free sizes fit any; N must be free."""
    shape = tensor.shape
    return (
        tensor.type == _TENSOR_TYPES[dtype]
        and len(shape) == len(sides)
        and not isinstance(shape[0], int)
        and all(not isinstance(n, int) or n == m for n, m in zip(shape[1:], sides[1:], strict=True))
    )
