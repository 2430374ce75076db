"""Benchmarks of the runtime's overhead over engine and codec."""
