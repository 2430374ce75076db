"""A Ray cluster that does the work of a folder run: what is asked of it, and the connection to it."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DaeError, InputError, MissingDependencyError
from ..system.bounds import MOST_THREADS, check_whole, shown
from ..system.interrupt import interrupted
from ..system.processor import available_cpus

LOCAL = "local"
"""Address of a cluster that is started for the run on this machine, and ended with it."""
PATIENCE_S = 300.0
"""Seconds that a run waits for a worker when it has none."""
MOST_WORKERS = 100_000
_STORE_BYTES = 2**27
"""Of the object store of a local cluster: models and results pass through it, images do not."""
_REMEDY = "the extra `ray` is not installed (pip install '.[ray]', in the folder that this package was installed from)"


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster for `run_folder`.

    Raises:
        InputError: A value has the wrong type or is out of range.
    """

    address: str = LOCAL
    """`local` starts Ray on this machine for the run; `auto` finds the cluster that this machine belongs to, and `HOST:PORT`
    names it."""
    workers: int | None = None
    """Most worker processes. None: as many as the CPUs of the cluster allow, also of machines that join later."""
    threads: int = 1
    """CPUs of each worker."""
    gpus_per_worker: float = 0
    """GPUs of each worker; below 1, several share one."""
    device: str = "auto"
    """As for `Denoiser`, in the workers."""
    tile_px: int | None = None
    """As for `Denoiser`, in the workers."""
    patience_s: float = PATIENCE_S
    """Seconds to wait for a worker when there is none; then the run ends."""

    def __post_init__(self) -> None:
        if not isinstance(self.address, str) or not self.address or "://" in self.address:
            raise InputError(
                f"a cluster is local, auto or HOST:PORT, not {shown(self.address)}. The Ray client (ray://) is not supported: "
                "run on a machine of the cluster."
            )
        for name, value, most in (("workers", self.workers, MOST_WORKERS), ("threads", self.threads, MOST_THREADS)):
            if value is not None:
                check_whole(name, value, 1, most)
        for name in ("gpus_per_worker", "patience_s"):
            if not isinstance(number := getattr(self, name), int | float) or not 0 <= number < 1e9:
                raise InputError(f"{name} must be a number from 0, not {shown(number)}.")

    @property
    def needs(self) -> str:
        """What a worker needs, in words."""
        cpus = f"{self.threads} CPU{'s' if self.threads > 1 else ''}"
        return cpus + (f" and {self.gpus_per_worker:g} GPU" if self.gpus_per_worker else "")

    def check(self, max_memory_mb: int | None = None) -> None:
        """Check that a run can use the cluster, before anything else is done.

        Raises:
            InputError: The run has a memory limit.
            MissingDependencyError: Ray is not installed.
        """
        if max_memory_mb is not None:
            raise InputError("--max-memory-mb is of one process; leave it out with --cluster.")
        load_ray()


def load_ray() -> Any:
    """Import Ray; without a report of its use to its makers and words of its own on the terminal, unless the environment asks.

    Raises:
        MissingDependencyError: It is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(f"--cluster needs the package ray: {_REMEDY}.") from error
    return ray


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Connect with a cluster and yield the module `ray`. A connection that the program has already is used, and stays.

    Raises:
        MissingDependencyError: Ray is not installed.
        DaeError: The cluster cannot be reached.
    """
    ray = load_ray()
    if ray.is_initialized():
        yield ray
        return
    local = {
        "num_cpus": available_cpus(),
        "include_dashboard": False,
        "object_store_memory": _STORE_BYTES,
        "address": LOCAL,
    }
    wanted = local if cluster.address == LOCAL else {"address": cluster.address}
    with _undisturbed(cluster.address == LOCAL):
        try:
            ray.init(**wanted, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:
            ray.shutdown()
            raise DaeError(
                f"the Ray cluster {cluster.address} cannot be reached: {_first_line(error)}. Run the command on a machine of "
                "the cluster, with the same versions of Ray and Python, and its token if it has one (RAY_AUTH_TOKEN)."
            ) from error
    try:
        yield ray
    finally:
        if not interrupted():  # then the process ends at once, and that with it
            ray.shutdown()


@contextlib.contextmanager
def _undisturbed(local: bool) -> Iterator[None]:
    """Keep Ray from changing this process while it connects: its handler of SIGTERM, the environment, files in the home."""
    kept: dict[str, str | None] = {}
    handler = signal.getsignal(signal.SIGTERM) if threading.current_thread() is threading.main_thread() else None
    if local:
        quiet = {"RAY_worker_niceness": "0"}
        if os.environ.get("RAY_AUTH_MODE", "token") == "token" and not _has_token():
            quiet["RAY_AUTH_TOKEN"] = _own_token()
        kept = {name: os.environ.get(name) for name in (*quiet, "RAY_AUTH_MODE")}
        for name, value in quiet.items():
            os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)
        for name, before in kept.items():
            if before is None:
                os.environ.pop(name, None)


@functools.cache
def _own_token() -> str:
    """Return the token of local clusters: one for each process, since Ray keeps the first that it reads."""
    return secrets.token_hex(32)


def _has_token() -> bool:
    own = Path.home() / ".ray" / "auth_token"
    return any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")) or own.exists()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
