"""A Ray cluster of three machines on one: a head without CPUs, on which commands run, and two nodes of one CPU each."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from builders import make_model, random_pixels, wait_until
from dae_runtime.images import Image, write_image
from process_group import free_port

from ..stores.conftest import moto, moto_server

__all__ = ["moto", "moto_server"]  # an S3 server, as in the tests of stores

HOSTILE = '''
"""Reading a file whose name says so kills a worker, as a defect of an image library would, or keeps it until it may go on."""
import os, signal, sys, time

def watch(event, arguments):
    if event != "open" or "raylet" in sys.argv[0]:
        return
    path = os.path.abspath(os.fsdecode(arguments[0])) if not isinstance(arguments[0], int) else ""
    if "kills" in os.path.basename(path):
        os.kill(os.getpid(), signal.SIGKILL)
    if os.path.basename(path).endswith("waits.png") and os.path.dirname(path).endswith("/in"):
        folder = os.path.dirname(os.path.dirname(path))
        with open(os.path.join(folder, f"kept-{os.getpid()}"), "wb"):
            pass
        while not os.path.exists(os.path.join(folder, "go-on")):
            time.sleep(0.01)

if any("default_worker" in argument for argument in sys.orig_argv):
    sys.addaudithook(watch)
'''


@dataclass
class Node:
    """A node: the processes of one `ray start`."""

    process: subprocess.Popen[bytes]
    log: Path
    raylet: int = 0

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class RayCluster:
    """The nodes, and commands on the head."""

    folder: Path
    port: int
    store: dict[str, str]
    """The environment for a store: a worker takes its credentials from its node."""
    address: str = ""
    nodes: list[Node] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """For commands: a home of their own, and the token of the cluster."""
        own = {"HOME": str(self.folder), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, "RAY_TMPDIR": "/tmp"}
        return {**os.environ, **own, **self.store}

    def __post_init__(self) -> None:
        self.token = secrets.token_hex(16)

    def start(self, *arguments: str) -> Node:
        """Start a node; again where it gives up, as Ray does after 30 seconds, which a busy machine may take."""
        paths = [str(self.folder / "hostile"), *sys.path, os.environ.get("PYTHONPATH", "")]
        path = os.pathsep.join(filter(None, paths))
        environment = {**self.environment, "RAY_worker_niceness": "0", "PYTHONPATH": path}
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        command += ["--object-store-memory=80000000", *arguments]
        for _ in range(3):
            log = self.folder / f"node-{secrets.token_hex(4)}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
            node = Node(process, log)
            wait_until(lambda: node.process.poll() is not None or "Ray runtime started" in node.said, 120)  # noqa: B023
            if process.poll() is None:
                break
            node.end()
        assert process.poll() is None, node.said
        node.raylet = next(pid for pid, line in processes() if pgid(pid) == process.pid and "raylet/raylet" in line)
        self.nodes.append(node)
        return node

    def fill(self) -> None:
        """Start what is missing of two nodes of one CPU each."""
        while len(self.nodes) < 3:
            self.start(f"--address={self.address}", "--num-cpus=1")

    def cut_power(self, node: Node) -> None:
        """End a node as a power cut would: its raylet, which then tells nobody, and its workers."""
        workers = [pid for pid, _ in processes() if parent(pid) == node.raylet]
        for pid in (node.raylet, *workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.nodes.remove(node)

    def workers(self) -> list[int]:
        """Return the processes that denoise for a run."""
        raylets = {node.raylet for node in self.nodes}
        return [pid for pid, line in processes() if line.startswith("ray::RemoteWorker") and parent(pid) in raylets]


def processes() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                yield int(entry.name), entry.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return -1


def pgid(pid: int) -> int:
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(pid)
    return -1


@pytest.fixture(scope="session")
def whole_cluster(tmp_path_factory: pytest.TempPathFactory, moto_server: Any) -> Iterator[RayCluster]:
    folder = tmp_path_factory.mktemp("ray")
    (folder / "hostile").mkdir()
    (folder / "hostile" / "sitecustomize.py").write_text(HOSTILE)
    cluster = RayCluster(folder, free_port(), moto_server.environment)
    try:
        head = cluster.start("--head", f"--port={cluster.port}", "--num-cpus=0", "--include-dashboard=false")
        found = next(line for line in head.said.splitlines() if "Local node IP: " in line)
        cluster.address = f"{found.rpartition(': ')[2].strip()}:{cluster.port}"
        yield cluster
    finally:
        for node in reversed(cluster.nodes):
            node.end()


@pytest.fixture
def cluster(whole_cluster: RayCluster) -> RayCluster:
    """The cluster with both nodes of one CPU, also after a test that has ended one."""
    whole_cluster.fill()
    return whole_cluster


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model and 24 images."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for number in range(24):
        name = f"{'sub/' * (number % 2)}{number:02}.png"
        write_image(tmp_path / "in" / name, Image(random_pixels((200, 240), seed=number)))
    (tmp_path / "blur.onnx").write_bytes(make_model(alignment=4))
    return tmp_path


@pytest.fixture
def start_run(cluster: RayCluster, folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `dae-run in out` on the cluster, in a folder of its own."""
    started = []

    def start(*arguments: object, **more: Any) -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "dae_runtime", "-m", "blur.onnx", *(arguments or ("in", "out", "-r"))]
        line += ["--cluster", cluster.address]
        environment = {**cluster.environment, **more}
        started.append(
            subprocess.Popen(
                list(map(str, line)), cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def run_on(start_run: Callable[..., subprocess.Popen[str]]) -> Callable[..., tuple[int, str, str]]:
    """Run `dae-run` on the cluster; return exit code, output and messages."""

    def run(*arguments: object, **more: Any) -> tuple[int, str, str]:
        process = start_run(*arguments, **more)
        out, err = process.communicate(timeout=240)
        return process.returncode, out, err

    return run
