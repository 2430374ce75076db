from __future__ import annotations

import threading
import time

import pytest

from dae_runtime.system.threads import Gate, ordered_map


@pytest.mark.parametrize("threads", [1, 3])
def test_results_keep_the_order_of_the_items(threads):
    def work(item):
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(ordered_map(range(40), work, threads, threading.Event())) == [item * item for item in range(40)]


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_no_more_is_taken_than_allowed(ahead):
    taken = []

    def items():
        for item in range(30):
            taken.append(item)
            yield item

    for item in ordered_map(items(), lambda item: item, 2, threading.Event(), ahead):
        assert len(taken) <= item + ahead


def test_an_error_comes_at_its_place_and_ends_the_rest():
    started, stop = [], threading.Event()

    def work(item):
        started.append(item)
        if item == 3:
            raise ValueError("three")
        return item

    results = []
    with pytest.raises(ValueError, match="three"):
        results.extend(ordered_map(range(1000), work, 2, stop))
    assert results == [0, 1, 2]
    assert stop.is_set()
    assert len(started) < 30


def test_leaving_early_stops_and_joins_the_threads():
    before, stop = threading.active_count(), threading.Event()
    results = ordered_map(range(1000), lambda item: item, 3, stop)
    assert next(results) == 0
    results.close()
    assert stop.is_set()
    assert threading.active_count() == before


def test_a_gate_bounds_what_threads_hold_together():
    gate, stop, lock = Gate(10), threading.Event(), threading.Lock()
    held, most = 0, 0

    def work(amount):
        nonlocal held, most
        gate.enter(amount, stop)
        with lock:
            held += amount
            most = max(most, held)
        time.sleep(0.002)
        with lock:
            held -= amount
        gate.leave()

    list(ordered_map([3, 4, 5, 6, 2, 9, 1] * 5, work, 4, stop))
    assert 6 < most <= 10


def test_a_gate_lets_through_what_is_too_large_and_who_holds_already():
    gate, stop = Gate(10), threading.Event()
    gate.enter(100, stop)
    gate.enter(100, stop)  # this thread holds something: waiting for itself would never end
    waiting = threading.Thread(target=gate.enter, args=(1, stop))
    waiting.start()
    waiting.join(timeout=0.1)
    assert waiting.is_alive()
    gate.leave()
    waiting.join(timeout=10)
    assert not waiting.is_alive()


def test_a_stop_opens_the_gate():
    gate, stop = Gate(1), threading.Event()
    gate.enter(1, stop)
    waiting = threading.Thread(target=gate.enter, args=(1, stop))
    waiting.start()
    stop.set()
    waiting.join(timeout=10)
    assert not waiting.is_alive()
