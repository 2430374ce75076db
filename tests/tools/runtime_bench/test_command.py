"""The benchmark at toy sizes: that it runs, and that its figures are what they say."""

from __future__ import annotations

import re

import pytest

from dae_tools.runtime_bench.speed import Figure


def test_every_figure_is_printed(blur_file, run_python):
    sizes = ("--photos", "2", "--small-files", "100", "--side", "900", "--rounds", "1")
    result = run_python("-m", "dae_tools.runtime_bench", "-m", blur_file, *sizes)
    lines = [line for line in result.stdout.splitlines() if re.search(r" (ratio|MiB|ms|s|of 255) ", line)]
    assert len(lines) == 10
    assert all(re.search(r" (met|MISSED)\b", line) for line in lines)
    assert result.returncode == any("MISSED" in line for line in lines), (
        result.stderr
    )  # how fast this machine is, it says itself
    (crop,) = (line for line in lines if "untiled" in line)
    assert re.search(r"[01]\.000 of 255", crop)
    (peak,) = (line for line in lines if "gray PNG" in line)
    assert 20 < float(re.search(r"([\d.]+) MiB", peak)[1]) < 900


def test_a_model_that_is_given_the_level_is_told_it(run_python):
    result = run_python("-m", "dae_tools.runtime_bench", "-m", "gray", "--part", "speed", "--rounds", "1")
    assert result.stdout.count(" ratio ") == 3, result.stderr


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("a", 1.0, "s"), None),
        (Figure("a", 1.0, "s", 1.1), True),
        (Figure("a", 1.2, "s", 1.1), False),
        (Figure("a", 1.2, "ratio", 1.1, True), True),
        (Figure("a", 1.0, "ratio", 1.1, True), False),
    ],
)
def test_what_meets_a_target(figure, met):
    assert figure.met is met
    assert ("MISSED" in figure.line()) == (met is False)
