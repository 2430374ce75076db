"""`python -m dae_tools.accelerator` packs crops, and trains with them on a GPU."""

from dae_runtime.system.command import run_command

from .command import command

run_command(command)
