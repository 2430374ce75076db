"""`python -m dae_tools.runtime_bench` prints what the runtime costs."""

from dae_runtime.command import run_command

from .command import command

run_command(command)
