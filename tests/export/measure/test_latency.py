"""The timing loop: alternation, warmup, and the time limit."""

from __future__ import annotations

import time
from functools import partial

import pytest

from dae_export.measure import latency
from dae_export.measure.latency import time_alternately


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    monkeypatch.setattr(latency, "SETTLE_S", 0)
    return []


def test_everybody_is_called_once_and_then_in_turns(calls):
    times = time_alternately({name: partial(calls.append, name) for name in "ab"}, 2, runs_per_turn=3)
    assert "".join(calls) == "ab" + 2 * ("aaa" + "bbb")
    assert list(times) == ["a", "b"]
    assert all(0 <= one.fastest_ms <= one.median_ms for one in times.values())


def test_the_first_of_several_runs_does_not_count(calls):
    def run() -> None:
        calls.append("a")
        time.sleep(0.05 if len(calls) in (1, 2, 5) else 0)  # before the clock starts, and at the beginning of each turn

    assert time_alternately({"a": run}, 2, runs_per_turn=3)["a"].median_ms < 20
    calls.clear()
    assert time_alternately({"a": run}, 1, runs_per_turn=1)["a"].fastest_ms >= 50  # a lone run counts


@pytest.mark.parametrize("fewest", [1, 2])
def test_no_round_begins_after_the_time_but_the_fewest_are_done(calls, fewest):
    time_alternately({"a": partial(calls.append, "a")}, 9, runs_per_turn=1, seconds=-1, fewest_rounds=fewest)
    assert len(calls) == 1 + fewest
    calls.clear()
    time_alternately({"a": partial(calls.append, "a")}, 9, runs_per_turn=1, seconds=60)
    assert len(calls) == 1 + 9
