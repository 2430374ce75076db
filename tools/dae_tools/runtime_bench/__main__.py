"""`python -m dae_tools.runtime_bench` prints the overhead of the runtime."""

from dae_runtime.system.command import run_command

from .command import command

run_command(command)
