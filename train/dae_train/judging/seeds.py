"""Seeds of the noise that networks are judged by."""

VALIDATION_SEED, TEST_SEED = 1_000_003, 1_000_033
"""Of the noise that the network is judged by: the same in all runs, so that their figures can be compared."""
