"""Real processes that train together on this machine, with Keras on JAX."""

import os
import socket
import subprocess
import sys
from pathlib import Path

HEAD = """
import os, signal, sys
sys.modules["tensorflow"] = None  # Keras loads it if it can, which takes seconds
from dataclasses import replace
from pathlib import Path
import keras
import numpy as np
from dae_train import DataSettings, NoiseSettings, Processes, RunConfig, TrainingSettings
from dae_train import connect, preset_settings, resume, train
from dae_train.fitting.input_pipeline import HostFeed
count, index, coordinator, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
place = Processes(count, index, coordinator)
mine = folder if index == 0 else folder / f"unseen-{index}"  # other processes need not see the disk of process 0
"""
COMMAND = "import sys; sys.modules['tensorflow'] = None; sys.argv[0] = 'dae-train'; from dae_train.cli import main; main()"


def run_group(script: str, count: int, folder: Path, *arguments: object, **environment: str) -> list[tuple[int, str]]:
    """Run a script, after `HEAD`, in processes that train together.

    Args:
        script: Python code.
        count: Number of processes.
        folder: For runs; compiled programs are kept in it.
        arguments: Of the script, from `sys.argv[5]` on.
        environment: Further variables.

    Returns:
        Exit code and output, standard error included, of each.
    """
    place = f"127.0.0.1:{free_port()}"
    return run_all(
        [[sys.executable, "-c", HEAD + script, count, index, place, folder, *arguments] for index in range(count)],
        folder,
        **environment,
    )


def run_all(lines: list[list[object]], folder: Path, **environment: str) -> list[tuple[int, str]]:
    """Run commands at the same time; return exit code and output of each."""
    quick = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    on_jax = {**os.environ, **quick, "KERAS_BACKEND": "jax", **environment}
    processes = [
        subprocess.Popen(list(map(str, line)), env=on_jax, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in lines
    ]
    try:
        said = [process.communicate(timeout=500)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [(process.returncode, words) for process, words in zip(processes, said, strict=True)]


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
