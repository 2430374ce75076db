"""How good is a model on pairs of photographs, and how near is the measured noise level: `python -m dae_tools.pairs`."""
