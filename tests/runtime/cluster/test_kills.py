"""Random kills of workers, nodes and drivers: the same command again makes every output, once, and touches nothing else."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from builders import wait_until

from .test_failures import check_whole, done, expected, let_go

__all__ = ["expected"]

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("DAE_CLUSTER_KILLS", "1"))
KINDS = ("driver", "worker", "node")


@pytest.mark.timeout(600 + 60 * KILLS)
def test_a_run_that_is_killed_at_any_moment_is_continued(cluster, folder, start_run, run_on, expected):
    chance = random.Random(int(os.environ.get("DAE_CLUSTER_SEED", "5")))
    inputs = {path: path.read_bytes() for path in (folder / "in").iterdir()}
    for number in range(KILLS):
        kind = chance.choice(KINDS)
        process = start_run()
        wait_until(lambda: len(cluster.workers()) == len(cluster.nodes) - 1)
        workers = cluster.workers()
        first = chance.randrange(1, 12)
        wait_until(lambda: done(folder) >= first)  # noqa: B023 - called at once
        time.sleep(chance.random() / 5)
        if kind == "driver":
            process.kill()
        elif kind == "worker":
            os.kill(chance.choice(workers), signal.SIGKILL)
        else:
            cluster.cut_power(cluster.nodes[-1])
        let_go(folder)
        said = process.communicate(timeout=240)[1]
        assert process.returncode == (-signal.SIGKILL if kind == "driver" else 0), said
        code, _, err = run_on()
        assert code == 0, err
        check_whole(folder, expected)
        assert {path: path.read_bytes() for path in (folder / "in").iterdir()} == inputs
        (folder / "out").rename(folder / f"out-{number}")
        (folder / "go-on").unlink()
        cluster.fill()
