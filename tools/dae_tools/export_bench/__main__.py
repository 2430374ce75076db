"""`python -m dae_tools.export_bench` times the exported graphs."""

from dae_runtime.system.command import run_command

from .command import command

run_command(command)
