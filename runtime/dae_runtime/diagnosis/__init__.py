"""Diagnosis of the installation: `--doctor` and `--self-test`."""
