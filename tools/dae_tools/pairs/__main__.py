"""`python -m dae_tools.pairs` judges a model on pairs of noisy and clean images."""

from dae_runtime.system.command import run_command

from .command import command

run_command(command)
