"""The inference engine: the one place that imports onnxruntime."""
