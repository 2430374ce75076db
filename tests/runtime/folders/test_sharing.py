"""Processes that share out one run: what each keeps, what is merged, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from builders import random_pixels
from dae_runtime import DaeError, Denoiser, FolderOutcome, FolderRequest, InputError, run_folder
from dae_runtime.folders import merge_manifests, open_run, plan_request
from dae_runtime.images import Image, write_image
from dae_runtime.jobs.manifest import read_manifest

FILES = 12


@pytest.fixture
def request_(tmp_path: Path) -> FolderRequest:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for number in range(FILES):
        write_image(tmp_path / "in" / f"{'sub/' * (number % 2)}{number}.png", Image(random_pixels((12, 10), seed=number)))
    return FolderRequest(tmp_path / "in", tmp_path / "out", recursive=True)


def run_shards(request: FolderRequest, denoiser: Denoiser, count: int) -> list[FolderOutcome]:
    return [run_folder(replace(request, shard=f"{index}/{count}"), denoiser) for index in range(1, count + 1)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def total(outcomes: list[FolderOutcome]) -> tuple[int, int, int]:
    return (sum(o.done for o in outcomes), sum(o.skipped for o in outcomes), sum(o.failed for o in outcomes))


def test_shards_do_together_what_one_process_does(tmp_path, denoiser, request_):
    run_folder(replace(request_, output=tmp_path / "whole"), denoiser)
    for count in (1, 2, 5, 40):  # of 40 most have no file
        output = tmp_path / f"out{count}"
        assert total(run_shards(replace(request_, output=output), denoiser, count)) == (FILES, 0, 0)
        assert contents(output) == contents(tmp_path / "whole")
        assert total(run_shards(replace(request_, output=output), denoiser, count)) == (0, FILES, 0)


def test_merged_manifests_are_continued_by_one_process_and_by_other_shards(tmp_path, denoiser, request_):
    (tmp_path / "in" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    run_shards(request_, denoiser, 3)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    manifest, count = merge_manifests(tmp_path / "out")
    assert (manifest, count) == (tmp_path / "out" / "dae-manifest.jsonl", 3)
    assert not (tmp_path / "out" / "dae-manifest.shards").exists()
    assert merge_manifests(tmp_path / "out") == (manifest, 0)
    entries = read_manifest(manifest)
    assert (len(entries), sum(entry.status == "failed" for entry in entries.values())) == (FILES + 1, 1)
    for again in ([run_folder(request_, denoiser)], run_shards(request_, denoiser, 5), run_shards(request_, denoiser, 5)):
        assert total(again) == (0, FILES, 1)
    write_image(tmp_path / "in" / "late.png", Image(random_pixels((9, 9))))
    merge_manifests(tmp_path / "out")
    assert total(run_shards(request_, denoiser, 2)) == (1, FILES, 1)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_number_of_shards_is_refused_until_merged(tmp_path, denoiser, request_):
    run_shards(request_, denoiser, 2)
    for shard in (None, "1/3"):
        for overwrite in (False, True):
            with pytest.raises(DaeError, match=r"a run in 2 shards\. .*dae-run --merge-manifests \S*/out$"):
                plan_request(replace(request_, shard=shard, overwrite=overwrite), lambda: denoiser.sources)
    assert len(contents(tmp_path / "out")) == FILES


def test_two_ways_of_sharing_at_once_end_at_the_first_output(tmp_path, denoiser, request_):
    """Where both begin before the first output, nothing tells them at once."""
    plans = {}
    for shard in (None, "1/1", "1/2"):
        plans[shard] = plan_request(replace(request_, shard=shard), lambda: denoiser.sources)
        plans[shard].check()
    with open_run(plans["1/2"], denoiser) as first:
        results = first.results()
        assert next(results).error is None
        for other in (None, "1/1"):
            with open_run(plans[other], denoiser) as second, pytest.raises(DaeError, match="a run in 2 shards"):
                list(second.results())
        results.close()
    names = {path.name for path in (tmp_path / "out").rglob("*.jsonl")}
    assert names == {"1-of-2.jsonl"}


def test_a_run_in_one_process_keeps_shards_out_while_it_lasts(denoiser, request_):
    plan = plan_request(request_, lambda: denoiser.sources)
    plan.check()
    with open_run(plan, denoiser) as run:
        results = run.results()
        next(results)
        with pytest.raises(DaeError, match=r"another run is writing to \S*dae-manifest\.jsonl"):
            plan_request(replace(request_, shard="1/2"), lambda: denoiser.sources)
        results.close()


def test_a_running_shard_is_neither_started_twice_nor_merged(tmp_path, denoiser, request_):
    request = replace(request_, shard="2/2")
    plan = plan_request(request, lambda: denoiser.sources)
    plan.check()
    with open_run(plan, denoiser) as run:
        results = run.results()
        next(results)
        for refused in (lambda: run_folder(request, denoiser), lambda: merge_manifests(tmp_path / "out")):
            with pytest.raises(DaeError, match=r"another run is writing to \S*2-of-2\.jsonl"):
                refused()
        results.close()
    assert run_folder(request, denoiser).failed == 0


def test_merging_that_was_killed_is_completed(tmp_path, denoiser, request_):
    run_shards(request_, denoiser, 3)
    shards = tmp_path / "out" / "dae-manifest.shards"
    first = (shards / "1-of-3.jsonl").read_bytes()
    (tmp_path / "out" / "dae-manifest.jsonl").write_bytes(first[: len(first) // 2])  # appended in part
    with (shards / "2-of-3.jsonl").open("ab") as file:
        file.write(b'{"path": "cut short')
    assert merge_manifests(tmp_path / "out")[1] == 3
    assert all(json.loads(line) for line in (tmp_path / "out" / "dae-manifest.jsonl").read_bytes().splitlines()[-FILES:])
    assert run_folder(request_, denoiser).skipped == FILES


def test_a_manifest_and_a_report_by_name_are_kept_for_each_shard(tmp_path, denoiser, request_):
    request = replace(request_, manifest=tmp_path / "notes" / "run.jsonl", report=tmp_path / "report.html")
    outcomes = run_shards(request, denoiser, 2)
    assert [outcome.report for outcome in outcomes] == [tmp_path / f"report.{index}-of-2.html" for index in (1, 2)]
    assert [outcome.manifest for outcome in outcomes] == [tmp_path / "notes/run.shards" / f"{i}-of-2.jsonl" for i in (1, 2)]
    assert total(run_shards(request, denoiser, 2)) == (0, FILES, 0)
    assert merge_manifests(tmp_path / "notes" / "run.jsonl")[1] == 2
    assert run_folder(replace(request, report=None), denoiser).skipped == FILES


def test_references_are_found_by_every_shard(tmp_path, denoiser, request_):
    request = replace(request_, reference=tmp_path / "in")
    outcomes = run_shards(request, denoiser, 20)
    assert sum(outcome.compared for outcome in outcomes) == FILES
    assert sum(outcome.not_compared for outcome in outcomes) == 0


def test_what_cannot_be_merged_is_named(tmp_path):
    with pytest.raises(InputError, match=r"has no manifest\. Give the output folder"):
        merge_manifests(tmp_path)
    (tmp_path / "m.shards").mkdir()
    (tmp_path / "m.shards" / "1-of-2.jsonl").write_text("precious")
    with pytest.raises(DaeError, match="is not a manifest"):
        merge_manifests(tmp_path / "m.jsonl")
    assert (tmp_path / "m.shards" / "1-of-2.jsonl").read_text() == "precious"
