"""Damaged image and model files end in an answer or in one of our errors: never in a crash, a hang or half a result.

DAE_FUZZ_IMAGES and DAE_FUZZ_MODELS set how many of each are tried; `make nightly` sets them high. Case n is the same file
on every machine with the same libraries, so a failure can be repeated alone: see docs/fuzzing.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("worker.py")
COUNTS = {"images": int(os.environ.get("DAE_FUZZ_IMAGES", "300")), "models": int(os.environ.get("DAE_FUZZ_MODELS", "120"))}
LEAST_SHARES = {"images": (0.05, 0.3), "models": (0.05, 0.3)}
"""At least these shares of answers and of refusals: a mutator that damages nothing, or everything, tests nothing."""


@dataclass
class Outcome:
    counts: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)


def run_cases(kind: str, seeds: Path, keep: Path, first: int, last: int) -> Outcome:
    """Run cases in child processes; a child that dies is a finding, and the next one goes on after it."""
    outcome = Outcome()
    keep.mkdir(parents=True)
    while first < last:
        command = [sys.executable, str(WORKER), kind, str(seeds), str(keep), str(first), str(last)]
        child = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        lines = [line.split(" ", 3) for line in child.stdout.splitlines()]
        outcome.counts.update(words[1] for words in lines if words[1] != "start")
        if child.returncode == 0:
            break
        started = [int(words[0]) for words in lines if words[1] == "start"]
        case = started[-1] if started else first
        outcome.bad.append(f"{kind} case {case} ended the process with {child.returncode}:\n{child.stderr[-1500:]}")
        first = case + 1
    return outcome


@pytest.mark.parametrize("kind", ["images", "models"])
@pytest.mark.timeout(3600)
def test_damaged_files(kind, sound_files, tmp_path):
    count, parts = COUNTS[kind], 2
    bounds = [count * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        outcomes = list(
            pool.map(lambda n: run_cases(kind, sound_files, tmp_path / str(n), bounds[n], bounds[n + 1]), range(parts))
        )
    bad = [text for outcome in outcomes for text in outcome.bad]
    counts = sum((outcome.counts for outcome in outcomes), Counter())
    print(f"{kind}: {dict(counts)}, {len(bad)} bad")
    assert not bad, "\n\n".join(bad)
    assert sum(counts.values()) == count
    for word, share in zip(("answer", "refused"), LEAST_SHARES[kind], strict=True):
        assert counts[word] >= share * count, counts


@pytest.mark.parametrize("kind", ["images", "models"])
def test_sound_files_are_no_findings(kind, sound_files):
    """The seeds themselves: each is answered, or refused for what it is by name."""
    from dae_runtime import DaeError, Denoiser
    from dae_runtime.images import read_image

    refused = []
    for path in sorted((sound_files / kind).iterdir()):
        try:
            read_image(path) if kind == "images" else Denoiser(path, "cpu", 1)
        except DaeError:
            refused.append(path.name)
    assert set(refused) <= {"cmyk.jpg", "pages.tif", "frames.webp", "pyramid.tif", "float.tif", "plain.bmp"}


def test_a_case_is_the_same_every_time(sound_files, tmp_path):
    def starts(name):
        (tmp_path / name).mkdir()
        command = [sys.executable, str(WORKER), "images", str(sound_files), str(tmp_path / name), "5", "25"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return [line for line in lines if " start " in line]

    assert starts("a") == starts("b")
    assert len(set(starts("c"))) == 20
