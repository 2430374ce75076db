"""Convert a trained Keras denoiser to one ONNX file, and prove that it is the same function."""
