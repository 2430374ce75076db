"""The inference engine; the only room of the runtime that imports onnxruntime."""
