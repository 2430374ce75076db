"""The table of docs/layers.md: which layers and activations of Keras export, and how."""
