"""`python -m dae_tools.cards` writes the card of a bundled model."""

from dae_runtime.system.command import run_command

from .command import command

run_command(command)
