"""Supervision, losses and optimizers."""
