"""Kinds of nodes."""

ELEMENTWISE = frozenset({"LeakyRelu", "Relu", "Elu", "Selu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSigmoid", "Clip"})
"""Activations that treat every element alike, wherever it lies."""
