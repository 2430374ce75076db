"""Mappings that move into a temporary file behave as those in memory, and take as little memory for many names as for few."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dae_runtime.errors import DaeError
from dae_runtime.jobs import table
from dae_runtime.jobs.table import Names, Table, distinct

KEYS = st.text(st.characters(), max_size=4) | st.sampled_from(["", "a", "a\0", "a/", "ab", "\udcff", "\U0010ffff"])
VALUES = st.none() | st.integers() | st.text(max_size=3)


@pytest.fixture(params=[0, 2, 1000])
def few(request, monkeypatch):
    """Let tables become databases at once, soon, or late."""
    monkeypatch.setattr(table, "_FEW", request.param)
    monkeypatch.setattr(table, "_ROWS", 3)


STEPS = st.tuples(st.sampled_from(["set", "default", "clear"]), KEYS, VALUES)


@settings(max_examples=60)
@given(steps=st.lists(STEPS, max_size=20), few=st.integers(0, 9))
def test_a_table_is_a_sorted_mapping(steps, few):
    expected: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "_FEW", few)
        patch.setattr(table, "_ROWS", 3)
        made = Table()
        for step, key, value in steps:
            if step == "set":
                made[key] = expected[key] = value
            elif step == "default":
                assert made.setdefault(key, value) == expected.setdefault(key, value)
            else:
                made.clear(key)
                expected = {name: kept for name, kept in expected.items() if not name.startswith(key)}
            assert (key in made) == (key in expected)
            assert made.get(key, "none") == expected.get(key, "none")
        assert list(made.items()) == sorted(expected.items(), key=lambda pair: pair[0])
        assert list(made) == sorted(expected)
        assert len(made) == len(expected)


def test_names_come_once_as_paths_sort(few):
    names = ["b/z.png", "b.png", "a/é.png", os.fsdecode(b"a/\xff.png"), "b/z.png", "b/c/d.png", "a b/c.png", "/x.png"]
    made = Names(iter(names))
    assert list(made) == [os.fspath(path) for path in sorted(map(Path, {*names}))]
    assert len(made) == 7
    assert "b.png" in made
    assert "b" not in made


def test_texts_are_told_once(few):
    assert list(distinct(["a", "a", "b", "a", "c", "b", "d"])) == ["a", "b", "c", "d"]


def test_a_table_serves_several_threads(few):
    made = Table()

    def fill(part: int) -> None:
        for number in range(200):
            made[f"{part}-{number:03}"] = number
            assert made.get(f"{part}-{number:03}") == number

    threads = [threading.Thread(target=fill, args=[part]) for part in range(4)]
    for thread in threads:
        thread.start()
    for key, value in made.items():  # while it grows
        assert int(key[-3:]) == value
    for thread in threads:
        thread.join()
    assert list(made.items()) == [(f"{part}-{number:03}", number) for part in range(4) for number in range(200)]


def test_a_disk_without_space_is_told(monkeypatch):
    monkeypatch.setattr(table, "_FEW", 0)
    made = Table()
    made["a"] = 1
    made._run("PRAGMA max_page_count = 10")
    with pytest.raises(DaeError, match="temporary file of this run cannot be written: database or disk is full"):
        made.update((str(number), "x" * 100) for number in range(10_000))


PLAN = """
import sys
from pathlib import Path
from dae_runtime.jobs.plan import plan
from dae_runtime.jobs.protection import Protection
jobs = plan(sys.argv[1], sys.argv[2], files_from=sys.argv[3])
Protection(jobs)
print(len(jobs), Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
"""A process of its own: the peak that the system tells a parent of its child counts that of the parent."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system tells no peak")
def test_many_files_take_hardly_more_memory_than_some(tmp_path):
    """Of a list of 20,000 and of 120,000 names: the tables of both are larger than what a table holds in memory."""
    (tmp_path / "in").mkdir()
    peaks = []
    for count in (20_000, 120_000):
        with (tmp_path / "list").open("w") as file:
            file.writelines(f"a folder of some length {number // 500}/image-{number:09}.png\n" for number in range(count))
        made = subprocess.run(
            [sys.executable, "-c", PLAN, tmp_path / "in", tmp_path / "out", tmp_path / "list"],
            capture_output=True,
            text=True,
            check=True,
        )
        planned, peak = map(int, made.stdout.split())
        assert planned == count
        peaks.append(peak / 1024)
    assert peaks[1] < peaks[0] + 25
