"""Workers, nodes and drivers that are killed, files that kill, and clusters without room."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest

from builders import random_pixels, wait_until
from dae_runtime import Denoiser, FolderRequest, run_folder
from dae_runtime.images import Image, write_image

from .conftest import parent
from .test_runs import contents

pytestmark = pytest.mark.slow

FILES = 40
NAMES = [f"{number:02}{'-waits' * (number >= FILES // 2)}.png" for number in range(FILES)]
"""Half of them wait: each worker comes to one, and is kept until `let_go`, so that no run ends before something happens."""


@pytest.fixture
def expected(folder):
    """The outputs of images that take about a tenth of a second each."""
    shutil.rmtree(folder / "in")
    (folder / "in").mkdir()
    first = folder / "in" / "00.png"
    write_image(first, Image(random_pixels((900, 1200), seed=1)))
    with Denoiser(folder / "blur.onnx", "cpu", 1) as denoiser:
        run_folder(FolderRequest(first, folder / "alone.png"), denoiser)
    for name in NAMES[1:]:
        shutil.copy(first, folder / "in" / name)
    return dict.fromkeys(NAMES, (folder / "alone.png").read_bytes())


def lines(folder: Path) -> list[dict[str, object]]:
    path = folder / "out" / "dae-manifest.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines() if line.endswith(b"}")] if path.exists() else []


def done(folder: Path) -> int:
    return sum(line["status"] == "done" for line in lines(folder))


def kept(folder: Path) -> list[int]:
    """Return the workers that read a file that waits."""
    return [int(path.name.removeprefix("kept-")) for path in folder.glob("kept-*")]


def let_go(folder: Path) -> None:
    (folder / "go-on").touch()


def check_whole(folder: Path, expected: dict[str, bytes]) -> None:
    """Check that each output is whole and done once in the manifest, and that nothing else is there."""
    assert contents(folder / "out") == expected
    counts = Counter(line["output"] for line in lines(folder) if line["status"] == "done")
    assert counts == {str(folder / "out" / name): 1 for name in expected}
    files = {str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*") if path.is_file()}
    assert files == {*expected, "dae-manifest.jsonl"}


def test_a_killed_worker_is_replaced(cluster, folder, start_run, expected):
    process = start_run()
    wait_until(lambda: done(folder) >= 3 and kept(folder))
    os.kill(kept(folder)[0], signal.SIGKILL)
    let_go(folder)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.startswith(f"{FILES} of {FILES} files denoised, 0 failed")
    assert "a worker was lost, and " in err
    check_whole(folder, expected)


def test_a_lost_node_is_no_hang_where_there_is_no_other_room(cluster, folder, start_run, expected):
    process = start_run()
    wait_until(lambda: done(folder) >= 3 and kept(folder))
    cluster.cut_power(next(node for node in cluster.nodes if node.raylet == parent(kept(folder)[0])))
    let_go(folder)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "a worker was lost, and " in err
    check_whole(folder, expected)


def test_a_killed_driver_is_continued_by_the_same_command(cluster, folder, start_run, run_on, expected):
    process = start_run()
    wait_until(lambda: done(folder) >= 5)
    process.kill()
    process.wait()
    let_go(folder)
    code, _, err = run_on()  # at once: workers of the run before may still write
    assert code == 0, err
    check_whole(folder, expected)


def test_an_interrupted_run_ends_soon_and_is_continued(cluster, folder, start_run, run_on, expected):
    process = start_run()
    wait_until(lambda: done(folder) >= 3)
    process.send_signal(signal.SIGINT)
    let_go(folder)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, f"of {FILES} files are whole; the same command goes on from there" in err) == (130, True), err
    wait_until(lambda: not cluster.workers())
    code, _, err = run_on("in", "out", "-r", "--resume")
    assert code == 0, err
    check_whole(folder, expected)


def test_a_file_that_kills_its_worker_is_found_and_the_others_are_done(folder, run_on):
    for name in list((folder / "in").rglob("*.png"))[8:]:
        name.unlink()
    for number in range(3):  # of small files several go together
        write_image(folder / "in" / f"small-{number}.png", Image(random_pixels((12, 10), seed=number)))
    shutil.copy(folder / "in" / "small-0.png", folder / "in" / "it-kills.png")
    code, out, err = run_on()
    assert code == 3, err
    assert "11 of 12 files denoised, 1 failed" in out
    assert "failed: in/it-kills.png: the process that denoised it died 3 times." in err
    assert len(contents(folder / "out")) == 11
    assert [line["output"] for line in lines(folder) if line["status"] == "failed"] == [str(folder / "out" / "it-kills.png")]
    _, _, err = run_on("in", "out", "-r", "--resume")
    assert "failed before: in/it-kills.png" in err


def test_nothing_foreign_is_replaced(cluster, folder, start_run, run_on, expected):
    process = start_run()
    wait_until(lambda: done(folder) >= 1 and len(kept(folder)) == 2)
    last = folder / "out" / NAMES[-1]
    last.write_bytes(b"of a person")
    for pid in kept(folder):  # the files under way are done again
        os.kill(pid, signal.SIGKILL)
    let_go(folder)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert f"failed: out/{last.name}: exists" in err, err
    assert last.read_bytes() == b"of a person"
    code, out, err = run_on()
    assert last.read_bytes() == b"of a person"
    assert (code, f"{FILES - 1} already complete, 1 failed" in out) == (3, True), (out, err)


def test_a_run_without_room_says_what_is_missing(cluster, folder, run_python):
    code = f"""
from dae_runtime import DaeError, Denoiser, FolderRequest, run_folder
from dae_runtime.jobs.cluster import Cluster
with Denoiser("blur.onnx", "cpu", 1) as denoiser:
    try:
        run_folder(FolderRequest("in", "out"), denoiser, cluster=Cluster({cluster.address!r}, threads=8, patience_s=3))
    except DaeError as error:
        print(error)
"""
    told = run_python("-c", code, cwd=folder, env=cluster.environment)
    assert "no worker could be started within 3 seconds: each needs 8 CPUs of one machine." in told.stdout, told.stderr
    assert "The cluster has 3 machines with 2 CPUs, of which 2 are free, and 0 GPUs." in told.stdout
    assert not (folder / "out").exists()


def test_a_cluster_that_cannot_be_reached_is_named(folder, dae_run, cluster):
    refused = dae_run(
        "-m",
        "blur.onnx",
        "in",
        "out",
        "--cluster",
        cluster.address,
        cwd=folder,
        env={**cluster.environment, "RAY_AUTH_TOKEN": "0" * 32},
    )
    assert refused.returncode == 1
    assert f"the Ray cluster {cluster.address} cannot be reached" in refused.stderr, refused.stderr


def test_nodes_without_the_folder_start_no_worker(folder, run_python, cluster):
    code = f"""
from pathlib import Path
from dae_runtime.jobs import pool
from dae_runtime import DaeError, Denoiser, FolderRequest, run_folder
from dae_runtime.jobs.cluster import Cluster
pool.is_folder = lambda path: True  # as where the driver has a folder that others lack
with Denoiser("blur.onnx", "cpu", 1) as denoiser:
    request = FolderRequest(str(Path("in/*.png").absolute()), str(Path("out").absolute()))
    try:
        run_folder(request, denoiser, cluster=Cluster({cluster.address!r}))
    except DaeError as error:
        print(error)
"""
    told = run_python("-c", code, cwd=folder, env=cluster.environment)
    assert "no worker of the cluster could start: on " in told.stdout, told.stderr
    assert "in/*.png. Give folders that all machines of the cluster share." in told.stdout
