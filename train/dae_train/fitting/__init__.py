"""The training loop: preparation, input pipeline, steps, checkpoints."""
