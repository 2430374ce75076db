"""Sessions of onnxruntime: open, check, run.

Sessions are verified to run on the requested device, where onnxruntime falls back to the CPU with a log line, and every
failure becomes one of our errors.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, SIGMA_NAME, Contract, from_json
from ..errors import CancelledError, DeviceError, MissingDependencyError, ModelError
from ..system.bounds import MOST_THREADS, check_whole
from ..system.processor import available_cpus, in_subinterpreter
from .binding import run_bound
from .devices import (
    AUTO,
    CPU_PROVIDER,
    NUMBERED,
    NVIDIA,
    PROVIDERS,
    Device,
    cuda_obstacle,
    device_obstacle,
    library_error,
    parse_device,
    preload_cuda,
)
from .fork import register_session
from .packages import engine_clash
from .saturation import EXACT_KERNELS
from .stopping import stoppable
from .tensors import check_tensors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TELEMETRY_SWITCH = "ORT_DISABLE_TELEMETRY"
_SILENT = 4  # onnxruntime's log level "fatal": errors are raised, not printed
_RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"
_IDLE_AFTER_RUN = "session.force_spinning_stop"
"""Threads spin for work within a run, which is faster, and not after it, which would take a CPU each for 20 ms."""

logger = logging.getLogger(__name__)


def load_engine() -> Any:
    """Return the onnxruntime module.

    Raises:
        MissingDependencyError: It is not installed or cannot be loaded; the message holds the install commands.
        DeviceError: This is a subinterpreter, where loading it would never end.
    """
    if in_subinterpreter():
        raise DeviceError(
            "onnxruntime does not work in a subinterpreter of Python. Use the main interpreter: with mod_wsgi set "
            "WSGIApplicationGroup %{GLOBAL}; else start processes."
        )
    if "onnxruntime" not in sys.modules:
        # From 1.29 on it sends telemetry unless this is set before loading, and its thread keeps forked children from
        # ending. Set the variable to 0 to allow it.
        os.environ.setdefault(TELEMETRY_SWITCH, "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing_engine(str(error)) from error
    if not hasattr(onnxruntime, "InferenceSession"):  # an uninstalled package can leave an empty folder
        raise _missing_engine("the folder onnxruntime holds no package")
    return onnxruntime


def open_session(
    model: bytes | str | os.PathLike[str], device: str = "cpu", threads: int | None = None
) -> Any:  # onnxruntime ships no types: an onnxruntime.InferenceSession
    """Open a model and verify that it runs on the requested device.

    Args:
        model: Path of an ONNX file, or its content.
        device: `cpu`, `cuda`, `cuda:N`, another name in `devices.PROVIDERS`, or `auto`: CUDA if it works, else the
            CPU; logged.
        threads: CPU threads; None for as many as this process may use.

    Returns:
        An `onnxruntime.InferenceSession`, usable only in the process that opened it: see `fork`.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        ModelError: The file is missing, damaged, or not supported by this onnxruntime.
        DeviceError: A device requested by name is not available; the message gives the reason.
        InputError: `device` or `threads` is invalid.
    """
    wanted = parse_device(device)
    if threads is not None:
        check_whole("threads", threads, 1, MOST_THREADS, " Leave it out for the default.")
    content = _model_source(model)
    engine = load_engine()
    _warn_engine_clash()
    if wanted.kind != AUTO:
        return _open_on(engine, content, wanted, threads)
    obstacle = cuda_obstacle(engine)
    if obstacle is None:
        try:
            session = _open_on(engine, content, Device("cuda", "0"), threads)
        except DeviceError as error:
            obstacle = str(error)
        else:
            logger.info("running on %s", session_device(session))
            return session
    session = _open(engine, content, [CPU_PROVIDER], threads)
    logger.info("running on the CPU: %s", obstacle)
    return session


def open_with_exact_kernels(model: bytes | str | os.PathLike[str], threads: int | None = None) -> Any:
    """Open a model on the CPU with exact kernels, half as fast; arguments and errors as for `open_session`."""
    return _open(load_engine(), _model_source(model), [CPU_PROVIDER], threads, exact_kernels=True)


def session_device(session: Any) -> str:
    """Return the device of a session: `cpu`, `cuda:N`, or another device name."""
    first = session.get_providers()[0]
    kind = next((kind for kind, provider in PROVIDERS.items() if provider == first), "cpu")
    number = session.get_provider_options().get(first, {}).get("device_id", "0")
    return f"{kind}:{number}" if kind in NUMBERED else kind


def read_contract(session: Any, where: str) -> Contract:
    """Read the contract of an opened model and check the model's tensors against it.

    Args:
        session: From `open_session`.
        where: Origin of the model, for error messages.

    Raises:
        ModelError: The contract is missing, damaged, or contradicts the model's tensors.
    """
    try:
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    except UnicodeDecodeError as error:  # onnxruntime opens such a file and fails only here
        raise ModelError(f"{where}: the metadata is damaged ({error}). Copy or export the model again.") from error
    if text is None:
        raise ModelError(
            f"{where} has no contract (metadata key {METADATA_KEY!r}), which describes its input and output. "
            "Create model files with dae-export."
        )
    contract = from_json(text, where)
    check_tensors(session, contract, where)
    return contract


def run_session(
    session: Any,
    batch: npt.NDArray[np.generic],
    sigma: npt.NDArray[np.float32] | None = None,
    *,
    cancel: Callable[[], bool] | None = None,
) -> npt.NDArray[np.generic]:
    """Run a model on one batch.

    Args:
        session: From `open_session`.
        batch: (N, H, W, C), C-contiguous, in the contract's dtype and range; read only.
        sigma: (N, 1) float32, C-contiguous: the noise level of each image, on the scale where white is 1; given exactly if the
            contract has `sigma`.
        cancel: Called by another thread while the run lasts; true ends it.

    Returns:
        A new array of the same shape and dtype.

    Raises:
        CancelledError: `cancel` returned true, or the command was interrupted.
        DeviceError: onnxruntime failed, e.g. out of memory.
        ModelError: The output has another shape.
    """
    device, _, number = session_device(session).partition(":")
    try:
        with stoppable(load_engine(), cancel) as options:
            if device in NVIDIA:
                result = run_bound(session, batch, "cuda", int(number), sigma, options)
            else:
                levels = {} if sigma is None else {SIGMA_NAME: sigma}
                result = session.run([OUTPUT_NAME], {INPUT_NAME: batch, **levels}, options)[0]
    except CancelledError:
        raise
    except Exception as error:  # onnxruntime's exceptions have no common base class
        raise DeviceError(
            f"onnxruntime failed on {session_device(session)} with a batch of shape {batch.shape}: {_one_line(error)}. "
            "If out of memory, give smaller images or a smaller batch."
        ) from error
    if result.shape != batch.shape:
        raise ModelError(f"the model turned a batch of shape {batch.shape} into {result.shape}; export it again.")
    return result


def _open_on(engine: Any, content: bytes | str, device: Device, threads: int | None) -> Any:
    if device.kind == "cpu":
        return _open(engine, content, [CPU_PROVIDER], threads)
    if obstacle := device_obstacle(engine, device):
        raise DeviceError(f"cannot run on {device}: {obstacle}. Use device cpu or auto to run on the CPU.")
    preloaded = preload_cuda(engine) if device.kind in NVIDIA else ""
    failure = ""
    try:
        session = _open(engine, content, device.providers(), threads)
    except ModelError as error:
        _open(engine, content, [CPU_PROVIDER], threads)  # a damaged model fails on the CPU too
        failure = _one_line(error.__cause__ or error)
    else:
        if device.provider in session.get_providers():
            _check_share(session, device)
            return session
    reasons = [text for text in (failure, library_error(engine, device) or preloaded) if text]
    remedy = "Check nvidia-smi, and that the CUDA and cuDNN versions fit; " if device.kind in NVIDIA else ""
    raise DeviceError(
        f"onnxruntime could not start {device}: {'; '.join(reasons) or 'any reason is on standard error'}. {remedy}"
        "dae-run --doctor shows details. Device cpu always works."
    )


def _check_share(session: Any, device: Device) -> None:
    """Check that a started device runs part of the model; onnxruntime moves unsupported operations to the CPU."""
    if not hasattr(session, "get_provider_graph_assignment_info"):  # before onnxruntime 1.24
        return
    parts = [(part.ep_name, len(part.get_nodes())) for part in session.get_provider_graph_assignment_info()]
    total, elsewhere = sum(count for _, count in parts), sum(count for name, count in parts if name == CPU_PROVIDER)
    if total and elsewhere == total:
        raise DeviceError(
            f"{device} was started but runs none of the model's {total} operations: all would run on the CPU. "
            "Use device cpu, or a model of another precision."
        )
    if elsewhere:
        logger.info("%d of %d operations run on the CPU, the others on %s", elsewhere, total, device)


def _open(engine: Any, content: bytes | str, providers: list[Any], threads: int | None, exact_kernels: bool = False) -> Any:
    options = engine.SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    options.add_session_config_entry(_IDLE_AFTER_RUN, "1")
    if exact_kernels:
        options.add_session_config_entry(EXACT_KERNELS, "1")
    if providers != [CPU_PROVIDER]:
        options.add_session_config_entry(_RECORD_ASSIGNMENT, "1")
    try:
        session = engine.InferenceSession(content, options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions have no common base class
        where = "the model" if isinstance(content, bytes) else content
        raise ModelError(
            f"onnxruntime {engine.__version__} cannot open {where}: {_one_line(error)}. The file is damaged, not an ONNX "
            "model, or newer than this onnxruntime; export it again or upgrade onnxruntime."
        ) from error
    register_session(session)
    return session


def _model_source(model: bytes | str | os.PathLike[str]) -> bytes | str:
    if isinstance(model, bytes | bytearray | memoryview):
        return bytes(model)
    path = Path(model)
    try:
        if path.stat().st_size == 0:
            raise ModelError(f"{path} is empty, not an ONNX model. Copy or export it again.")
        with path.open("rb"):
            return os.fspath(path)
    except OSError as error:
        raise ModelError(f"the model {path} cannot be read: {error.strerror}. Give the path of an .onnx file.") from error


def _warn_engine_clash() -> None:
    if clash := engine_clash():
        logger.warning("%s", clash)


def _missing_engine(reason: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"running a model needs onnxruntime ({reason}). Install one of: pip install onnxruntime, or with an NVIDIA GPU "
        "pip install 'onnxruntime-gpu[cuda,cudnn]'"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
