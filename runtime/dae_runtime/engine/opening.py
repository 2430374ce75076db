"""Open a model file, and check that it computes what its exporter computed."""

from __future__ import annotations

import logging
import os
from typing import Any

from ..contract import Contract, to_json
from ..errors import DeviceError, ModelError
from ..system.processor import cpu_name
from .devices import AUTO, parse_device
from .golden import DEVICE_TOLERANCE, Replay, compare, golden_arrays, golden_sigma
from .saturation import saturates
from .session import load_engine, open_session, open_with_exact_kernels, read_contract, run_session, session_device

logger = logging.getLogger(__name__)


def open_model(model: bytes | str | os.PathLike[str], device: str = "cpu", threads: int | None = None) -> tuple[Any, Contract]:
    """Open a model file, and check that it computes what its exporter computed.

    If the engine saturates sums on this processor, an INT8 file without exact sums runs on exact kernels. On devices other
    than the CPU the golden sample is replayed.

    Args:
        model: As for `open_session`.
        device: As for `open_session`. With `auto`, the CPU replaces a GPU that fails the golden sample.
        threads: As for `open_session`.

    Returns:
        The session and the file's contract.

    Raises:
        As `open_session` and `read_contract`; also
        ModelError: Sums of this file may saturate here, and the engine has no exact kernels.
        DeviceError: The device does not compute what the exporter computed.
    """
    session = open_session(model, device, threads)
    where = "the model" if isinstance(model, bytes | bytearray | memoryview) else os.fspath(model)
    contract = read_contract(session, where)
    if contract.for_other_programs:
        raise ModelError(
            f"{where} is for other programs: its images are {contract.layout}. Give the file that it was made from, which "
            "dae-export without --for writes."
        )
    used = session_device(session)
    if used != "cpu":
        replay = replay_golden(session, contract)
        if replay.passed:
            return session, contract
        if parse_device(device).kind != AUTO:
            raise DeviceError(f"{used} does not compute what the exporter of {where} computed: {replay}. Use device cpu.")
        logger.warning("running on the CPU: %s does not compute what the exporter computed: %s", used, replay)
        session = open_session(model, "cpu", threads)
    if contract.is_exact or not saturates(load_engine()):
        return session, contract
    return _open_with_exact_kernels(model, where, contract, threads), contract


def contract_document(model: str | os.PathLike[str]) -> str:
    """Return the contract of a model file, also of one for other programs, as indented JSON.

    Raises:
        As `open_session` and `read_contract`.
    """
    return to_json(read_contract(open_session(model, "cpu", 1), os.fspath(model)), indent=2)


def _open_with_exact_kernels(
    model: bytes | str | os.PathLike[str], where: str, contract: Contract, threads: int | None
) -> Any:
    """Open an INT8 file whose sums may saturate here with exact kernels."""
    engine = load_engine()
    if saturates(engine, exact_kernels=True):
        raise ModelError(
            f"{where}: this INT8 file may give wrong results on {cpu_name()}: the processor saturates sums at 16 bits, the "
            f"file exceeds them, and onnxruntime {engine.__version__} has no exact kernels. Export it again with "
            "this version of dae-export, or convert the file: dae-export OLD.onnx --calibration-data NOISY -o NEW.onnx"
        )
    logger.warning(
        "%s: this processor saturates sums of this older INT8 file, so it runs on exact kernels, about half as fast. Export "
        "it again, or convert it: dae-export OLD.onnx --calibration-data NOISY -o NEW.onnx",
        contract.name,
    )
    return open_with_exact_kernels(model, threads)


def replay_golden(session: Any, contract: Contract) -> Replay:
    """Run the golden sample of a model and compare with its exporter's output within `DEVICE_TOLERANCE`.

    Args:
        session: From `open_session`.
        contract: From `read_contract` of the same session.

    Raises:
        DeviceError: The device cannot run the model.
    """
    noisy, expected = golden_arrays(contract)
    return compare(run_session(session, noisy, golden_sigma(contract)), expected, contract, DEVICE_TOLERANCE)
