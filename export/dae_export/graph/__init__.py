"""ONNX graphs: edited and analyzed."""
