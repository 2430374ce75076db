"""Train a network on a GPU in minutes, on Keras with JAX, from one file of crops: `python -m dae_tools.accelerator`."""
