"""The training framework and what it computes on."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec

from dae_runtime.command import buffered_stderr
from dae_runtime.errors import DeviceError, MissingDependencyError

from ..errors import ConfigError

DEVICES = ("auto", "cpu", "gpu")
BACKENDS = ("tensorflow", "jax")


def backend() -> str:
    """Return the backend that `KERAS_BACKEND` names, `tensorflow` if it names none.

    Raises:
        ConfigError: It names one that training does not support.
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
    return name


def load_backend() -> None:
    """Import the backend's framework, which takes seconds; `start` finds it loaded."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what matters is raised as an exception
    with buffered_stderr():  # no setting silences its greeting
        import_module(backend())


def start(device: str, seed: int, deterministic: bool) -> str:
    """Load the framework, choose the device for the whole process, and seed everything random.

    Args:
        device: `auto` (a GPU if there is one), `cpu` or `gpu`.
        seed: Of Python's, numpy's and the backend's global generators.
        deterministic: Whether kernels must give the same result every time.

    Returns:
        What will be trained on, in words.

    Raises:
        ConfigError: The device or the backend is none of those supported.
        DeviceError: A GPU was demanded and there is none.
    """
    if device not in DEVICES:
        raise ConfigError(f"the device must be one of {', '.join(DEVICES)}, not {device!r}.")
    name = backend()
    os.environ["KERAS_BACKEND"] = name  # keras would else look into its own configuration file
    gpu = _start_tensorflow(device, deterministic) if name == "tensorflow" else _start_jax(device, deterministic)
    import keras

    keras.utils.set_random_seed(seed)
    if device == "gpu" and gpu is None:
        raise DeviceError(f"--device gpu: {name} finds no GPU. Check the driver and the CUDA packages, or use --device cpu.")
    return f"{gpu or _cpu()} ({name})"


def on_gpu() -> bool:
    """Say whether the backend that was started computes on a GPU."""
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
        # A program that used TensorFlow before has fixed its devices; that matters only if it fixed others.
        if device == "cpu" and tf.config.get_visible_devices("GPU"):
            raise DeviceError(f"--device cpu: TensorFlow has been started with a GPU already ({error}).") from error
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
    first = jax.devices()[0]
    return None if first.platform == "cpu" else f"GPU {first.device_kind}"


def _cpu() -> str:
    return f"CPU, {len(os.sched_getaffinity(0))} cores"
