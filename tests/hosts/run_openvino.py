"""python run_openvino.py MODEL INPUTS.npz OUTPUT.npy: run a file in OpenVINO on the CPU, in float32."""

import sys

import numpy as np

sys.modules["openvino_telemetry"] = None  # it forks, and its child may never end
import openvino  # noqa: E402

model, inputs, output = sys.argv[1:]
core = openvino.Core()
compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
np.save(output, compiled(dict(np.load(inputs)))["denoised"])
print(openvino.__version__)
