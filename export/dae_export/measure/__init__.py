"""Measurements of a model: parity, quality, latency, and gates."""
