"""How good a network is: metrics, validation, history."""
