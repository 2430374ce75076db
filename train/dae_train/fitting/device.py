"""The training framework and its device."""

from __future__ import annotations

import os
from importlib.util import find_spec

from dae_runtime.errors import DeviceError, MissingDependencyError
from dae_runtime.system.command import import_quietly

from ..errors import ConfigError

DEVICES = ("auto", "cpu", "gpu")
BACKENDS = ("tensorflow", "jax")


def backend() -> str:
    """Return the backend of `KERAS_BACKEND`; `tensorflow` if it is not set, which is told to use oneDNN when it is imported.

    By itself it leaves that library out on processors without VNNI, and trains convolutions at half the speed there.

    Raises:
        ConfigError: The backend is not supported.
        MissingDependencyError: It is not installed.
    """
    name = os.environ.get("KERAS_BACKEND") or BACKENDS[0]
    if name not in BACKENDS:
        raise ConfigError(f"KERAS_BACKEND is {name!r}; training supports {' and '.join(BACKENDS)}.")
    if find_spec(name) is None or find_spec("keras") is None:
        raise MissingDependencyError(
            f"training with KERAS_BACKEND={name} needs the package {name} and keras. Install: pip install tensorflow, or jax"
            + (f" {name}" if name != BACKENDS[0] else "")
        )
    if name == "tensorflow":
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    return name


def load_backend() -> None:
    """Import the framework, which takes seconds; `start` does so if necessary."""
    import_quietly(backend())


def start(device: str, seed: int, deterministic: bool) -> str:
    """Load the framework, select the device for the whole process, and seed all random generators.

    Args:
        device: `auto` (a GPU if there is one), `cpu` or `gpu`.
        seed: For the global generators of Python, numpy and the backend.
        deterministic: Whether kernels must be reproducible.

    Returns:
        Name of the device, for people.

    Raises:
        ConfigError: The device or the backend is not supported.
        DeviceError: A GPU is requested and not available.
    """
    if device not in DEVICES:
        raise ConfigError(f"the device must be one of {', '.join(DEVICES)}, not {device!r}.")
    name = backend()
    os.environ["KERAS_BACKEND"] = name  # takes precedence over the configuration file of Keras
    gpu = _start_tensorflow(device, deterministic) if name == "tensorflow" else _start_jax(device, deterministic)
    import keras

    keras.utils.set_random_seed(seed)
    if device == "gpu" and gpu is None:
        raise DeviceError(f"--device gpu: {name} finds no GPU. Check the driver and the CUDA packages, or use --device cpu.")
    return f"{gpu or _cpu()} ({name})"


def on_gpu() -> bool:
    """Return whether the started backend computes on a GPU."""
    if backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.get_visible_devices("GPU"))
    import jax

    return bool(jax.default_backend() != "cpu")


def _start_tensorflow(device: str, deterministic: bool) -> str | None:
    load_backend()
    import tensorflow as tf

    if deterministic:
        tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    try:
        if device == "cpu" and gpus:
            tf.config.set_visible_devices([], "GPU")
        for gpu in gpus if device != "cpu" else []:
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError as error:
        # The calling program may have initialized the devices; only a visible GPU is an error.
        if device == "cpu" and tf.config.get_visible_devices("GPU"):
            raise DeviceError(f"--device cpu: TensorFlow already uses a GPU in this process ({error}).") from error
    if device == "cpu" or not gpus:
        return None
    return f"GPU {tf.config.experimental.get_device_details(gpus[0]).get('device_name', gpus[0].name)}"


def _start_jax(device: str, deterministic: bool) -> str | None:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    import jax

    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call]
    first = jax.local_devices()[0]
    return None if first.platform == "cpu" else f"GPU {first.device_kind}"


def _cpu() -> str:
    return f"CPU, {len(os.sched_getaffinity(0))} cores"
