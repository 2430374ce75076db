"""The engine: the one place of the runtime that imports onnxruntime.

It opens sessions on the requested device, verifies that they really run there, and turns every failure into one of our
errors. onnxruntime itself falls back to the CPU with a log line when CUDA cannot be loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import io
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, Contract, from_json
from .errors import DeviceError, InputError, MissingDependencyError, ModelError
from .processor import available_cpus

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CUDA_PROVIDER = "CUDAExecutionProvider"
CPU_PROVIDER = "CPUExecutionProvider"
ENGINE_PACKAGES = ("onnxruntime", "onnxruntime-gpu")
_TENSOR_TYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)"}
_SILENT = 4  # onnxruntime's log level "fatal": what goes wrong is raised, not printed

logger = logging.getLogger(__name__)


def load_engine() -> Any:
    """Return the onnxruntime module.

    Raises:
        MissingDependencyError: It is not installed, or cannot be loaded; the text holds the install commands.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing_engine(str(error)) from error
    if not hasattr(onnxruntime, "InferenceSession"):  # an uninstalled package can leave an empty folder behind
        raise _missing_engine("the folder onnxruntime holds no package")
    return onnxruntime


def parse_device(device: str) -> tuple[str, int]:
    """Split a device name into its kind (`auto`, `cpu` or `cuda`) and its index (0 unless given).

    Raises:
        InputError: The name is none of `auto`, `cpu`, `cuda`, `cuda:N`.
    """
    match = re.fullmatch(r"(auto|cpu|cuda)|cuda:(\d{1,3})", device) if isinstance(device, str) else None
    if match is None:
        raise InputError(f"device must be auto, cpu, cuda or cuda:N (for instance cuda:1), not {device!r}.")
    return match[1] or "cuda", int(match[2] or 0)


def open_session(
    model: bytes | str | os.PathLike[str], device: str = "cpu", threads: int | None = None
) -> Any:  # onnxruntime ships no types: an onnxruntime.InferenceSession
    """Open a model and verify that it runs on the requested device.

    Args:
        model: Path of an ONNX file, or its content.
        device: `cpu`, `cuda`, `cuda:N`, or `auto`: CUDA if it works, else the CPU, with one log line that says which.
        threads: CPU threads; None for as many as this process may use.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        ModelError: The file is missing, damaged, or needs something that this onnxruntime lacks.
        DeviceError: CUDA was asked for by name and cannot be had; the text says why.
        InputError: `device` or `threads` is not usable.
    """
    kind, index = parse_device(device)
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, not {threads}. Leave it out to use every CPU that is available.")
    content = _model_source(model)
    engine = load_engine()
    _warn_of_clash()
    if kind == "cpu":
        return _open(engine, content, [CPU_PROVIDER], threads)
    obstacle = cuda_obstacle(engine)
    if obstacle is None:
        try:
            session = _open_cuda(engine, content, index, threads)
        except DeviceError as error:
            if kind == "cuda":
                raise
            obstacle = str(error)
        else:
            logger.info("running on cuda:%d", index)
            return session
    if kind == "cuda":
        raise DeviceError(f"cannot run on {device}: {obstacle}. Use device cpu or auto to run on the CPU.")
    session = _open(engine, content, [CPU_PROVIDER], threads)
    logger.info("running on the CPU: %s", obstacle)
    return session


def session_device(session: Any) -> str:
    """Return where a session really runs: `cpu` or `cuda:N`."""
    if CUDA_PROVIDER not in session.get_providers():
        return "cpu"
    return f"cuda:{session.get_provider_options()[CUDA_PROVIDER].get('device_id', '0')}"


def read_contract(session: Any, where: str) -> Contract:
    """Read the contract of an opened model and check the model's tensors against it.

    Args:
        session: From `open_session`.
        where: What the model came from, for error messages.

    Raises:
        ModelError: The model has no contract, or one that is damaged or contradicts its tensors.
    """
    try:
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    except UnicodeDecodeError as error:  # onnxruntime opens such a file, and fails here
        raise ModelError(f"{where}: the metadata is damaged ({error}). Copy or export the model again.") from error
    if text is None:
        raise ModelError(
            f"{where} carries no contract (metadata key {METADATA_KEY!r}), so nothing says how to feed it. "
            "Make model files with dae-export."
        )
    contract = from_json(text, where)
    for kind, name, tensors in (
        ("input", INPUT_NAME, session.get_inputs()),
        ("output", OUTPUT_NAME, session.get_outputs()),
    ):
        _check_tensor(kind, name, tensors, contract, where)
    return contract


def run_session(session: Any, batch: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Run a model on one batch.

    Args:
        session: From `open_session`.
        batch: (N, H, W, C), C-contiguous, in the contract's dtype and range; read only.

    Returns:
        A new array of the same shape and dtype.

    Raises:
        DeviceError: onnxruntime failed, for instance for want of memory.
    """
    try:
        result: npt.NDArray[np.generic] = session.run([OUTPUT_NAME], {INPUT_NAME: batch})[0]
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise DeviceError(
            f"onnxruntime failed on {session_device(session)} with a batch of shape {batch.shape}: {_one_line(error)}. "
            "If memory ran out, give smaller images or a smaller batch."
        ) from error
    if result.shape != batch.shape:
        raise ModelError(f"the model turned a batch of shape {batch.shape} into {result.shape}; export it again.")
    return result


def installed_engines() -> dict[str, str]:
    """Return the versions of the installed distributions that provide `onnxruntime`, by name."""
    found = {}
    for name in ENGINE_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def engine_clash() -> str | None:
    """Return what is wrong when both engine packages are installed, or None.

    They are one import name and overwrite each other's files: https://github.com/microsoft/onnxruntime/issues/7748
    """
    if len(installed_engines()) < len(ENGINE_PACKAGES):
        return None
    return (
        "onnxruntime and onnxruntime-gpu are both installed; they overwrite each other and may silently run on the CPU. "
        "Uninstall both, then install one: pip uninstall onnxruntime onnxruntime-gpu; pip install 'dae-toolkit[gpu]'"
    )


def cuda_obstacle(engine: Any) -> str | None:
    """Return why CUDA cannot work here, or None when nothing speaks against trying."""
    if CUDA_PROVIDER not in engine.get_available_providers():
        return "the installed onnxruntime has no CUDA support (pip install 'dae-toolkit[gpu]' in an environment without [cpu])"
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError as error:
        return f"no NVIDIA driver is found ({error})"
    return None


def _open_cuda(engine: Any, content: bytes | str, index: int, threads: int | None) -> Any:
    # The algorithm search of the default setting is repeated for every new image size; TF32 would change pixels.
    options = {"device_id": str(index), "cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
    preload_report = _preload_cuda(engine)
    failure = ""
    try:
        session = _open(engine, content, [(CUDA_PROVIDER, options), CPU_PROVIDER], threads)
        if CUDA_PROVIDER in session.get_providers():
            return session
    except ModelError as error:
        _open(engine, content, [CPU_PROVIDER], threads)  # a damaged model fails here too, and is not the device's fault
        failure = str(error)
    reasons = [text for text in (failure, _cuda_library_error(engine) or preload_report) if text]
    raise DeviceError(
        f"onnxruntime could not start CUDA device {index}: {'; '.join(reasons) or 'it gave no reason'}. Check nvidia-smi, and "
        "that the CUDA and cuDNN versions fit: pip install 'dae-toolkit[gpu]' brings them. Device cpu always works."
    )


def _open(engine: Any, content: bytes | str, providers: list[Any], threads: int | None) -> Any:
    options = engine.SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    try:
        return engine.InferenceSession(content, options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        where = "the model" if isinstance(content, bytes) else content
        raise ModelError(
            f"onnxruntime {engine.__version__} cannot open {where}: {_one_line(error)}. The file is damaged, no ONNX model, "
            "or newer than this onnxruntime; export it again or upgrade onnxruntime."
        ) from error


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


def _check_tensor(kind: str, name: str, tensors: list[Any], contract: Contract, where: str) -> None:
    size = contract.fixed_size or (None, None)
    expected = (
        f"one {kind} {name!r}, {contract.io_dtype} of shape (N, {size[0] or 'H'}, {size[1] or 'W'}, {contract.channels})"
    )
    received = ", ".join(f"{tensor.name!r} {tensor.type} {tensor.shape}" for tensor in tensors)
    if len(tensors) == 1:
        shape = tensors[0].shape
        sound = (
            tensors[0].name == name
            and tensors[0].type == _TENSOR_TYPES[contract.io_dtype]
            and len(shape) == 4
            and not isinstance(shape[0], int)
            # A size that the graph leaves open cannot contradict the contract.
            and all(not isinstance(n, int) or n == m for n, m in zip(shape[1:], (*size, contract.channels), strict=True))
        )
        if sound:
            return
    raise ModelError(
        f"{where} contradicts its contract: expected {expected}; the file has {received}. Export the model again."
    )


def _preload_cuda(engine: Any) -> str:
    """Load the CUDA libraries that pip installed; return what onnxruntime prints about it."""
    printed = io.StringIO()
    if hasattr(engine, "preload_dlls"):
        with contextlib.redirect_stdout(printed), contextlib.suppress(Exception):
            engine.preload_dlls()
    return " ".join(printed.getvalue().split())


def _cuda_library_error(engine: Any) -> str:
    # onnxruntime keeps the loader's message to itself; loading the same file again tells which library is missing.
    library = Path(engine.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(os.fspath(library))
    except OSError as error:
        return str(error)
    return ""


def _warn_of_clash() -> None:
    if clash := engine_clash():
        logger.warning("%s", clash)


def _missing_engine(reason: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"running a model needs onnxruntime ({reason}). Install one of: pip install 'dae-toolkit[cpu]', or with an NVIDIA GPU "
        "pip install 'dae-toolkit[gpu]'"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
