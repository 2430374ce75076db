"""The table of what planning takes."""

from __future__ import annotations

from click.testing import CliRunner

from dae_tools.plan_memory import command, costs


def test_each_way_is_measured(tmp_path):
    found = costs(tmp_path, 300)
    assert list(found) == ["plan", "share 1/10", "resume", "resume of share 1/10"]
    assert all(10 < cost.peak_mib < 1000 and cost.seconds > 0 for cost in found.values())
    assert (tmp_path / "out" / "dae-manifest.jsonl").read_bytes().count(b"\n") == 300


def test_a_row_for_each_way():
    said = CliRunner().invoke(command, ["--files", "200"])
    assert said.exit_code == 0
    assert [line.split()[0] for line in said.output.splitlines()] == ["files", "200", "200", "200", "200"]
