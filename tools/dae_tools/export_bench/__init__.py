"""Benchmarks of exported graphs against other engines and other denoisers."""
