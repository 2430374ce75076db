"""What a network learns from, and how: supervision, losses, optimizers."""
