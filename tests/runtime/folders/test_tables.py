"""A folder run whose plan, manifest and identities lie in temporary databases does what one in memory does."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import random_pixels
from dae_runtime import FolderRequest, InputError, OutputExistsError, run_folder
from dae_runtime.folders import plan_request
from dae_runtime.images import Image, write_image
from dae_runtime.jobs import table

NAMES = ("b.png", "a/c.png", "a/b.png", "z/é.png", "a.png")


@pytest.fixture(autouse=True)
def databases(monkeypatch):
    monkeypatch.setattr(table, "_FEW", 0)
    monkeypatch.setattr(table, "_ROWS", 2)


@pytest.fixture
def request_(tmp_path: Path) -> FolderRequest:
    for number, name in enumerate(NAMES):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / "in" / name, Image(random_pixels((12, 10, 3), seed=number)))
    return FolderRequest(tmp_path / "in", tmp_path / "out", recursive=True)


def test_first_again_and_changed(tmp_path, denoiser, request_):
    plan = plan_request(request_, lambda: denoiser.sources)
    assert [str(job.source.relative_to(tmp_path / "in")) for job in plan.jobs] == sorted(
        NAMES, key=lambda name: name.split("/")
    )
    assert [mark for _, mark in plan.marked()] == [""] * 5
    assert run_folder(request_, denoiser).done == 5
    write_image(tmp_path / "in" / "b.png", Image(random_pixels((9, 9, 3))))
    write_image(tmp_path / "out" / "a" / "b.png", Image(random_pixels((12, 10, 3), seed=9)), overwrite=True)
    (tmp_path / "out" / "a.png").unlink()
    plan = plan_request(request_, lambda: denoiser.sources)
    kept = "already complete: kept"
    assert {str(job.source.relative_to(tmp_path / "in")): mark for job, mark in plan.marked()} == {
        "a/b.png": "complete, and changed since: kept without --overwrite",
        "a/c.png": kept,
        "a.png": "",
        "b.png": "exists: replaced",
        "z/é.png": kept,
    }
    assert [job.source.name for job in plan.remaining] == ["a.png", "b.png"]
    outcome = run_folder(request_, denoiser)
    assert (outcome.done, outcome.skipped, outcome.failed) == (2, 3, 0)
    assert outcome.edited == (tmp_path / "out" / "a" / "b.png",)


def test_refusals(tmp_path, denoiser, request_):
    write_image(tmp_path / "in" / "a" / "b.jpg", Image(random_pixels((12, 10, 3))))
    with pytest.raises(InputError, match=r"in/a/b\.jpg and .*in/a/b\.png have the same output .*out/a/b\.tif"):
        plan_request(FolderRequest(tmp_path / "in", tmp_path / "out", recursive=True, format="tif"), lambda: [])
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "c.png").hardlink_to(tmp_path / "in" / "b.png")
    with pytest.raises(InputError, match=r"the output .*out/a/c\.png is also an input"):
        plan_request(request_, lambda: [])
    (tmp_path / "out" / "a" / "c.png").unlink()
    (tmp_path / "out" / "a" / "c.png").write_bytes(b"another program's")
    with pytest.raises(OutputExistsError, match=r"1 output exists already: .*out/a/c\.png"):
        run_folder(request_, denoiser)
