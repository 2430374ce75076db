"""ONNX graphs: edited, and what follows from their nodes."""
