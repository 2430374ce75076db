"""Shares of a run and lists of files."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import random_pixels
from dae_runtime.errors import InputError
from dae_runtime.images import Image, write_image
from dae_runtime.jobs.listing import listed_names
from dae_runtime.jobs.plan import plan
from dae_runtime.jobs.shards import Shard

PARTS = st.binary(min_size=1, max_size=12).filter(lambda part: not set(part) & set(b"/\0\n\r") and part not in (b".", b".."))
NAMES = st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: os.fsdecode(b"/".join(parts)))


@given(st.lists(NAMES, max_size=20), st.integers(1, 40))
def test_each_name_is_of_exactly_one_shard(names, count):
    shards = [Shard(index, count) for index in range(1, count + 1)]
    assert all(sum(shard.owns(name) for shard in shards) == 1 for name in names)


@given(NAMES, st.integers(1, 9))
def test_inputs_that_may_have_one_output_are_of_one_shard(name, count):
    for index in range(1, count + 1):
        assert Shard(index, count).owns(f"{name}.png") == Shard(index, count).owns(f"{name}.jpeg")


def test_the_shard_of_a_name_is_documented_and_never_changes():
    """Outputs of an earlier version are found again only if it stays as it is."""
    digest = hashlib.sha256("2026/Zürich 1.b".encode()).digest()
    assert Shard(int.from_bytes(digest[:8], "big") % 1000 + 1, 1000).owns("2026/Zürich 1.b.png")
    assert [next(i for i in range(1, 8) if Shard(i, 7).owns(name)) for name in ("a.png", "b/c.tif", "b/.x", "d")] == [
        5,
        3,
        3,
        1,
    ]


def test_shards_are_of_similar_size():
    sizes = [sum(Shard(index, 8).owns(f"scans/{number:05}.tif") for number in range(4000)) for index in range(1, 9)]
    assert sum(sizes) == 4000
    assert all(400 < size < 600 for size in sizes)


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "-1/4", "1/4/2", "a/b", "1 / 4", "1/9999999", "\u0661/4"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(InputError, match=r"a shard is I/N with I from 1 to N, such as 1/16 to 16/16, not"):
        Shard.parse(text)


@settings(max_examples=50)
@given(st.lists(NAMES, min_size=1, max_size=30), st.sampled_from([b"\n", b"\r\n", b"\0"]), st.booleans())
def test_a_list_gives_its_names(tmp_path_factory, names, end, ended):
    path = tmp_path_factory.mktemp("list") / "names"
    path.write_bytes(end.join(map(os.fsencode, names)) + (end if ended or end == b"\0" else b""))
    expected = ["/".join(part for part in name.split("/") if part != ".") for name in names]
    assert list(listed_names(path)) == expected


def test_a_long_list_is_read_in_parts(tmp_path):
    names = [f"folder of some length/{number:06}.png" for number in range(20_000)]
    (tmp_path / "list").write_text("\ufeff" + "\n\n".join(names), "utf-8")
    assert list(listed_names(tmp_path / "list")) == names


@pytest.mark.parametrize("name", ["/a.png", "../a.png", "a/../../b.png", ".", "x" * 200_000])
def test_names_outside_the_folder_are_refused(tmp_path, name):
    (tmp_path / "list").write_text(f"ok.png\n{name}\n")
    with pytest.raises(InputError, match=r"name 2 of the list .*relative to the input folder|a name of more than"):
        list(listed_names(tmp_path / "list"))


def test_lists_that_cannot_be_read_are_refused(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match=r"the list .* cannot be read: "):
            list(listed_names(path))


def test_a_plan_takes_the_listed_images_and_its_share_of_them(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "b.png", "sub/c.png", "sub/d.png"):
        write_image(folder / name, Image(random_pixels((4, 5))))
    text = b"./sub/c.png\na.png\nnotes.txt\nmissing.png\na.png\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    jobs = plan(folder, tmp_path / "out", files_from="-")
    listed = ["a.png", "missing.png", "sub/c.png"]
    assert [(job.source, job.destination) for job in jobs] == [(folder / name, tmp_path / "out" / name) for name in listed]
    (tmp_path / "list").write_bytes(text)
    for shards in range(1, 5):
        parts = [
            plan(folder, tmp_path / "out", files_from=tmp_path / "list", shard=Shard(i + 1, shards)) for i in range(shards)
        ]
        assert sorted(job.source for part in parts for job in part) == [job.source for job in jobs]


def test_a_list_needs_a_folder_and_an_image(tmp_path):
    write_image(tmp_path / "a.png", Image(random_pixels((4, 5))))
    (tmp_path / "list").write_text("notes.txt\n")
    for source in (tmp_path / "a.png", tmp_path / "*.png", tmp_path / "missing"):
        with pytest.raises(InputError, match="needs a folder as input"):
            plan(source, tmp_path / "out", files_from=tmp_path / "list")
    with pytest.raises(InputError, match="names no image file"):
        plan(tmp_path, Path(f"{tmp_path}-out"), files_from=tmp_path / "list")


def test_a_list_and_a_folder_take_little_memory_whole_and_in_shares(tmp_path):
    names = [f"{number:06}-of-a-long-series-of-scans.png" for number in range(20_000)]
    (tmp_path / "list").write_text("\n".join(names))
    (tmp_path / "in").mkdir()
    for name in names[:2000]:
        (tmp_path / "in" / name).touch()

    def peak(files_from: Path | None, shard: Shard | None) -> int:
        tracemalloc.start()
        try:
            plan(tmp_path / "in", tmp_path / "out", files_from=files_from, shard=shard)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    for files_from in (tmp_path / "list", None):
        peak(files_from, None)  # imports, and what is cached
        assert peak(files_from, None) < 3 * 2**20
        assert peak(files_from, Shard(1, 20)) < 3 * 2**20
