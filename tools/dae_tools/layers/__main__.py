"""`python -m dae_tools.layers` prints the table of docs/layers.md."""

from .table import table

print(table(), end="")
