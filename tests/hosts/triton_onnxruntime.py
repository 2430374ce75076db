"""`model.py` of a backend `onnxruntime` for Triton: runs models in batches, as the one in C++ does, which no package brings.

It is a Python-based backend (docs/python_based_backends.md of triton-inference-server/backend). Triton's interpreter ignores
PYTHONPATH, and its tensors know no NumPy 2 but by DLPack; when one of them ends, NumPy prints a harmless error about its name.
"""

import os
import sys
from pathlib import Path

sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import triton_python_backend_utils as triton  # noqa: E402


class TritonPythonModel:
    """One instance of one model."""

    def initialize(self, args):
        file = Path(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        self.inputs = [tensor.name for tensor in self.session.get_inputs()]

    def execute(self, requests):
        """Answer requests of one image size, which Triton has gathered, by one run."""
        tensors = {
            name: [np.from_dlpack(triton.get_input_tensor_by_name(request, name)) for request in requests]
            for name in self.inputs
        }
        (images,) = self.session.run(None, {name: np.concatenate(parts) for name, parts in tensors.items()})
        ends = np.cumsum([len(part) for part in tensors["noisy"]])
        parts = np.split(images, ends[:-1])
        return [triton.InferenceResponse([triton.Tensor.from_dlpack("denoised", part)]) for part in parts]
