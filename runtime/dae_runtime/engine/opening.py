"""Opening a model file so that it computes what its exporter computed, or not at all."""

from __future__ import annotations

import logging
import os
from typing import Any

from ..contract import Contract
from ..errors import DeviceError, ModelError
from ..system.processor import cpu_name
from .devices import AUTO, parse_device
from .golden import DEVICE_TOLERANCE, Replay, compare, golden_arrays, golden_sigma
from .saturation import saturates
from .session import load_engine, open_exactly, open_session, read_contract, run_session, session_device

logger = logging.getLogger(__name__)


def open_model(model: bytes | str | os.PathLike[str], device: str = "cpu", threads: int | None = None) -> tuple[Any, Contract]:
    """Open a model file so that it computes what its exporter computed, or not at all.

    An INT8 file that does not say that its sums are exact is given exact kernels where this engine cuts off sums on this
    processor. On other devices than the CPU the golden sample is replayed.

    Args:
        model: As for `open_session`.
        device: As for `open_session`. With `auto`, a GPU that fails the golden sample is left for the CPU.
        threads: As for `open_session`.

    Returns:
        The session and the file's contract.

    Raises:
        As `open_session` and `read_contract`; also
        ModelError: Sums of this file may be cut off here, and the engine has no exact kernels.
        DeviceError: The device computes something else than the exporter.
    """
    session = open_session(model, device, threads)
    where = "the model" if isinstance(model, bytes | bytearray | memoryview) else os.fspath(model)
    contract = read_contract(session, where)
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
    return _open_older(model, where, contract, threads), contract


def _open_older(model: bytes | str | os.PathLike[str], where: str, contract: Contract, threads: int | None) -> Any:
    """Open an INT8 file that may be cut off here with kernels that do not."""
    engine = load_engine()
    if saturates(engine, exact_kernels=True):
        raise ModelError(
            f"{where}: this INT8 file may come out wrong on {cpu_name()}: the processor cuts off sums of 16 bits, the file "
            f"does not keep within them, and onnxruntime {engine.__version__} has no exact kernels. Export it again with "
            "this version of dae-export, or convert the file: dae-export OLD.onnx --calibration-data NOISY -o NEW.onnx"
        )
    logger.warning(
        "%s: this processor cuts off sums of this older INT8 file, so it runs on exact kernels, about half as fast. Export it "
        "again, or convert it: dae-export OLD.onnx --calibration-data NOISY -o NEW.onnx",
        contract.name,
    )
    return open_exactly(model, threads)


def replay_golden(session: Any, contract: Contract) -> Replay:
    """Run the golden sample of a model and compare what comes out with what its exporter got, within `DEVICE_TOLERANCE`.

    Args:
        session: From `open_session`.
        contract: From `read_contract` of the same session.

    Raises:
        DeviceError: The device cannot run the model.
    """
    noisy, expected = golden_arrays(contract)
    return compare(run_session(session, noisy, golden_sigma(contract)), expected, contract, DEVICE_TOLERANCE)
