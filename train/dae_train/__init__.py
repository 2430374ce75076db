"""Train small convolutional denoisers with Keras."""
