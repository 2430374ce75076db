"""Contenders of the benchmark: exports and engines for one network."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx

from dae_export.errors import ParityError
from dae_export.measure.parity import noisy_images
from dae_export.precision import calibrate, quantize
from dae_export.product import choose_float, choose_integer
from dae_export.source import Network, convert_plainly
from dae_runtime.contract import Shape
from dae_runtime.engine.session import open_session, run_session
from dae_runtime.pixels.arrays import FloatArray

Run = Callable[[FloatArray], FloatArray]

PLAIN = "tf2onnx, onnxruntime"
PLAIN_INT8 = "tf2onnx, static INT8, onnxruntime"
TENSORFLOW = "tf.function"
OPENVINO = "OpenVINO, float32"
OURS = "dae-export"
OURS_INT8 = "dae-export --quantize"

FLOAT_TOLERANCE = 1e-4
INTEGER_TOLERANCE = 16 / 255
"""Largest difference of any pixel from Keras; distinguishes a wrong graph from rounding to 8 bits."""

_CALIBRATION_SIDE_PX = 128


class Contenders:
    """The contenders for one network; models are built once and run on any size."""

    def __init__(self, network: Network, threads: int) -> None:
        """Build the models.

        Args:
            network: What they all compute.
            threads: CPU threads of each. TensorFlow takes them only if it has not run in this process.
        """
        self.network, self.threads = network, threads
        noisy = noisy_images((4, *network.images.size_near(_CALIBRATION_SIDE_PX), network.images.channels))
        form = choose_float(network, FLOAT_TOLERANCE)
        integer = choose_integer(network, noisy, FLOAT_TOLERANCE)
        self.forms = {OURS: form.name, OURS_INT8: integer.name}
        self.models: dict[str, onnx.ModelProto] = {
            PLAIN: convert_plainly(network.keras),
            PLAIN_INT8: quantize(network.model, calibrate(network.model, [noisy])),
            OURS: form.model,
            OURS_INT8: quantize(integer.model, calibrate(integer.model, [noisy])),
        }

    def runs(self, shape: Shape) -> dict[str, Run]:
        """Return the run functions for images of a shape (N, H, W, C), by name.

        Raises:
            ParityError: One of them does not compute what Keras computes.
        """
        runs = dict(self._runs(shape))
        noisy = noisy_images((1, *shape[1:]))
        expected = self.network.keras(noisy)
        for name, run in runs.items():
            if name != OPENVINO:
                self._check(name, run(noisy), expected)
        if OPENVINO in runs:  # compiled for the batch, too
            noisy = noisy_images(shape)
            self._check(OPENVINO, runs[OPENVINO](noisy), self.network.keras(noisy))
        return runs

    def _runs(self, shape: Shape) -> Iterator[tuple[str, Run]]:
        for name in (PLAIN, PLAIN_INT8):
            yield name, self._onnx(name)
        yield TENSORFLOW, _tensorflow(self.network)
        if importlib.util.find_spec("openvino") is not None:
            yield OPENVINO, _openvino(self.network.model, shape, self.threads)
        for name in (OURS, OURS_INT8):
            yield name, self._onnx(name)

    def _onnx(self, name: str) -> Run:
        session = open_session(self.models[name].SerializeToString(), "cpu", self.threads)
        return lambda noisy: np.asarray(run_session(session, noisy), np.float32)

    def _check(self, name: str, received: FloatArray, expected: FloatArray) -> None:
        difference = float(np.max(np.abs(received - expected)))
        allowed = INTEGER_TOLERANCE if name in (PLAIN_INT8, OURS_INT8) else FLOAT_TOLERANCE
        if not difference <= allowed:
            raise ParityError(f"{name} differs from the Keras model by {difference:.3g}; at most {allowed:.3g} is allowed.")


def limit_tensorflow(threads: int) -> None:
    """Limit TensorFlow's threads; call before its first operation in this process."""
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)


def _tensorflow(network: Network) -> Run:
    import tensorflow

    height, width = network.images.fixed_size or (None, None)
    shape = (None, height, width, network.images.channels)
    keras = network.keras.model
    function = tensorflow.function(
        lambda noisy: keras(noisy, training=False), input_signature=[tensorflow.TensorSpec(shape, tensorflow.float32)]
    )

    def run(noisy: FloatArray) -> FloatArray:
        with tensorflow.device("/CPU:0"):
            return np.asarray(function(noisy))

    return run


def _openvino(model: onnx.ModelProto, shape: Shape, threads: int) -> Run:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it forks, and its child may never end
    openvino: Any = importlib.import_module("openvino")
    core = openvino.Core()
    network = core.read_model(model.SerializeToString())
    network.reshape(list(shape))
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(network, "CPU", settings)
    request = compiled.create_infer_request()
    return lambda noisy: np.asarray(next(iter(request.infer([noisy]).values())))
