"""The benchmark on a small network: every contender computes the same, the page holds the figures, the command runs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from dae_export.errors import ParityError
from dae_export.source import KerasModel, convert_plainly, read_network
from dae_tools.export_bench import contenders
from dae_tools.export_bench.command import SEED_PRESET, run_bench
from dae_tools.export_bench.contenders import OPENVINO, OURS, OURS_INT8, PLAIN, PLAIN_INT8, TENSORFLOW, Contenders
from dae_tools.export_bench.networks import random_network
from dae_tools.export_bench.page import page
from dae_tools.export_bench.profile import by_kind, profile

NAMES = [PLAIN, PLAIN_INT8, TENSORFLOW, OURS, OURS_INT8]


@pytest.fixture(scope="module")
def small(make_v2) -> KerasModel:
    return KerasModel(make_v2(filters=(8, 8, 16)), "small")


def test_it_times_every_contender_and_writes_a_page(small):
    bench = run_bench(small, "a small network", threads=1, rounds=1, sizes=[(1, 30, 32), (3, 28, 28)])
    assert list(bench.times) == [(1, 32, 32, 1), (3, 28, 28, 1)]
    for times in bench.times.values():
        assert [name for name in times if name != OPENVINO] == NAMES
        assert all(latency.median_ms >= latency.fastest_ms > 0 for latency in times.values())
    text = page(bench)
    for words in (
        "a small network",
        "## 1 image of 32 x 32, gray",
        "## 3 images of 28 x 28, gray",
        "| QLinearConv |",
        "The multiplications alone, ",
        *NAMES,
    ):
        assert words in text
    assert f"| {PLAIN} | {bench.times[1, 32, 32, 1][PLAIN].median_ms:.1f} |" in text


def test_a_contender_that_computes_something_else_stops_the_benchmark(small, monkeypatch):
    monkeypatch.setattr(contenders, "_tensorflow", lambda network: lambda noisy: noisy)
    found = Contenders(read_network(small, 18), threads=1)
    with pytest.raises(ParityError, match=r"tf\.function differs"):
        found.runs((1, 32, 32, 1))


def test_the_plain_graph_is_that_of_tf2onnx(small):
    plain = convert_plainly(small)
    assert [value.name for value in (*plain.graph.input, *plain.graph.output)] == ["noisy", "denoised"]
    assert any(node.op_type == "Shape" for node in plain.graph.node)


def test_without_a_model_it_is_the_network_of_the_tutorial(keras):
    model = random_network(SEED_PRESET)
    assert model.model.count_params() == 185_217
    assert (model.channels, model.fixed_size) == (1, None)
    again = random_network(SEED_PRESET)
    assert all(np.array_equal(a, b) for a, b in zip(model.model.get_weights(), again.model.get_weights(), strict=True))


def test_a_profile_names_every_node_once(small):
    network = read_network(small, 18)
    nodes = profile(network.model.SerializeToString(), np.zeros((1, 32, 32, 1), np.float32), threads=1, runs=3)
    assert len({node.name for node in nodes}) == len(nodes)
    assert sum(node.kind == "ConvTranspose" for node in nodes) == 3
    assert nodes[-1].shape == (1, 32, 32, 1)
    kinds = by_kind(nodes)
    assert sum(kinds.values()) == pytest.approx(sum(node.ms for node in nodes))
    assert list(kinds.values()) == sorted(kinds.values(), reverse=True)


def test_the_command_writes_the_page(make_v2, tmp_path):
    make_v2(filters=(4, 4, 8)).save(tmp_path / "tiny.keras")
    arguments = ["tiny.keras", "--output", "page.md", "--threads", "1", "--rounds", "1", "--size", "1", "16", "16"]
    command = [sys.executable, "-m", "dae_tools.export_bench", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
    text = (tmp_path / "page.md").read_text("utf-8")
    assert text.startswith("# Benchmarks\n")
    assert "`python -m dae_tools.export_bench tiny.keras --output docs/benchmarks.md`" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.md", "tiny.keras"]
