"""Run exported denoisers with onnxruntime: batched, on CPU or CUDA, without a training framework."""

__version__ = "0.1.0"
