"""Measurements of a model: parity, quality, latency, and the limits that it must keep."""
