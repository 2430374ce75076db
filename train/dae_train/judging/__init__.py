"""Quality of a network: metrics, validation, history."""
