"""`python -m dae_runtime` is `dae-run`."""

from .cli import main

main()
