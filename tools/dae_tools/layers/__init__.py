"""The table of docs/layers.md: which layers and activations of Keras export, and how."""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as dae-export sets it; before TensorFlow is imported
