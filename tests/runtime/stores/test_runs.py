"""Folder runs from and into object stores, on real servers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from builders import random_pixels
from dae_runtime.images import Image, encode, write_image

pytestmark = pytest.mark.slow
DAMAGED = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def folder(tmp_path: Path, pictures: dict[str, bytes]) -> Path:
    """The pictures in a local folder."""
    for name, content in pictures.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    return tmp_path / "in"


@pytest.fixture
def expected(tmp_path, folder, blur_file, dae_run) -> dict[str, bytes]:
    """The outputs of a local run over the pictures."""
    assert dae_run("-m", blur_file, folder, tmp_path / "local", "-r").returncode == 0
    return local_files(tmp_path / "local")


def local_files(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def fill(server, pictures, folder="in"):
    for name, content in pictures.items():
        server.put(f"{folder}/{name}", content)


def test_outputs_are_those_of_local_files(tmp_path, server, pictures, folder, expected, blur_file, dae_run_on):
    fill(server, pictures)
    server.put("in/bad.png", DAMAGED)
    server.put("in/notes.txt", b"text")
    server.put("in/.hidden.png", b"")
    (folder / "bad.png").write_bytes(DAMAGED)
    places = (
        (f"{server.url}/in", f"{server.url}/out"),
        (folder, f"{server.url}/up"),
        (f"{server.url}/in/", tmp_path / "down"),
    )
    for source, output in places:
        done = dae_run_on(server, "-m", blur_file, source, output, "-r")
        assert done.returncode == 3, done.stderr
        assert f"failed: {str(source).rstrip('/')}/bad.png: " in done.stderr
        assert f"{len(expected)} of {len(expected) + 1} files denoised, 1 failed" in done.stdout
        again = dae_run_on(server, "-m", blur_file, source, output, "-r")
        assert f"0 of {len(expected) + 1} files denoised, {len(expected)} already complete, 1 failed" in again.stdout
    assert server.objects("out") == server.objects("up") == local_files(tmp_path / "down") == expected
    assert (server.bucket in done.stderr, "passed over: 1 .txt" in done.stderr) == (True, True)


def test_an_ignored_condition_is_told_once(moto, rclone, pictures, blur_file, dae_run_on):
    for server in (moto, rclone):
        fill(server, pictures)
        said = dae_run_on(server, "-m", blur_file, f"{server.url}/in", f"{server.url}/out", "-r").stderr
        assert said.count("ignores If-None-Match") == (server is rclone)
        assert not [key for key in server.keys("out") if "probe" in key]


def test_nothing_of_others_is_replaced(server, pictures, blur_file, dae_run_on):
    fill(server, pictures)
    server.put("out/b.jpg", b"precious")
    command = ("-m", blur_file, f"{server.url}/in", f"{server.url}/out", "-r")
    refused = dae_run_on(server, *command)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert re.search(rf"1 output exists already: {server.url}/out/b\.jpg\. Give --overwrite", refused.stderr)
    assert server.objects("out") == {"b.jpg": b"precious"}
    assert "(exists: refused without --overwrite)" in dae_run_on(server, *command, "--dry-run").stdout
    assert dae_run_on(server, *command, "--overwrite").returncode == 0
    assert len(server.objects("out")) == len(pictures)


def test_what_changed_is_done_again_and_what_was_edited_stays(server, pictures, blur_file, dae_run_on):
    fill(server, pictures)
    command = ("-m", blur_file, f"{server.url}/in", f"{server.url}/out", "-r")
    assert dae_run_on(server, *command).returncode == 0
    before = server.objects("out")
    edited = encode(random_pixels((5, 5)), "png")
    server.put("out/z.png", edited)
    server.put("in/a.png", encode(random_pixels((9, 9)), "png"))
    server.put("in/new.png", encode(random_pixels((9, 9)), "png"))
    again = dae_run_on(server, *command)
    assert again.returncode == 0, again.stderr
    assert "2 of 7 files denoised, 5 already complete" in again.stdout
    after = server.objects("out")
    assert (after["z.png"], after["a.png"]) == (edited, after["new.png"])
    assert after.keys() == before.keys() | {"new.png"}
    assert {name for name in before if before[name] != after[name]} == {"a.png", "z.png"}
    other = dae_run_on(server, *command, "--strength", "0.5")
    assert (other.returncode, "strength 1 instead of 0.5" in other.stderr) == (1, True)


def test_shards_lists_reports_and_references(tmp_path, server, pictures, expected, blur_file, dae_run_on):
    fill(server, pictures)
    fill(server, {"a.tif": pictures["c.tif"]}, "clean")
    command = ("-m", blur_file, f"{server.url}/in", f"{server.url}/out")
    (tmp_path / "list").write_text("\n".join([*pictures, "notes.txt"]))
    done = 0
    for shard in ("1/2", "2/2"):
        said = dae_run_on(
            server, *command, "--files-from", tmp_path / "list", "--shard", shard, "--report", tmp_path / "r.html"
        )
        assert said.returncode == 0, said.stderr
        done += int(said.stdout.split()[0])
        assert "<img" in (tmp_path / f"r.{shard[0]}-of-2.html").read_text()
    assert (done, server.objects("out")) == (len(pictures), expected)
    assert "a run in 2 shards" in dae_run_on(server, *command, "-r").stderr
    merged = dae_run_on(server, "--merge-manifests", f"{server.url}/out")
    assert merged.stdout == f"{server.url}/out/dae-manifest/whole: 2 manifests of shards merged into it\n"
    whole = dae_run_on(server, *command, "-r")
    assert f"0 of {len(pictures)} files denoised, {len(pictures)} already complete" in whole.stdout
    listed = dae_run_on(server, *command, "--files-from", tmp_path / "list", "--shard", "3/3")
    assert re.match(r"0 of (\d) files? denoised, \1 already complete|0 of 0 files", listed.stdout)
    missing = dae_run_on(server, *command, "--files-from", "-", input_="none.png\n")
    assert missing.returncode == 3
    compared = dae_run_on(server, *command[:-1], f"{server.url}/other", "--reference", f"{server.url}/clean")
    assert "(mean of 1 file with a reference)" in compared.stdout, compared.stderr


def test_a_local_manifest_of_outputs_in_a_store(tmp_path, server, pictures, blur_file, dae_run_on):
    fill(server, pictures)
    notes = tmp_path / "notes.jsonl"
    command = ("-m", blur_file, f"{server.url}/in", f"{server.url}/out", "-r", "--manifest", notes)
    assert dae_run_on(server, *command).returncode == 0
    assert notes.read_bytes().count(b'"output_mark": ') == len(pictures)
    assert not [key for key in server.keys("out") if "dae-manifest" in key]
    again = dae_run_on(server, *command)
    assert f"0 of {len(pictures)} files denoised, {len(pictures)} already complete" in again.stdout


def test_one_object(tmp_path, server, pictures, expected, blur_file, dae_run_on):
    fill(server, pictures)
    for output in (f"{server.url}/one/a.png", f"{server.url}/two/", tmp_path / "a.png"):
        done = dae_run_on(server, "-m", blur_file, f"{server.url}/in/a.png", output)
        assert done.returncode == 0, done.stderr
    assert server.objects("one") == server.objects("two") == {"a.png": expected["a.png"]}
    assert (tmp_path / "a.png").read_bytes() == expected["a.png"]
    assert dae_run_on(server, "-m", blur_file, f"{server.url}/in/a.png", f"{server.url}/one/a.png").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("s3://bucket/in", "out", "--watch"), "s3://bucket/in is the URL of a store. Give a local path."),
        (("in", "s3://bucket/out", "--watch"), "s3://bucket/out is the URL of a store. Give a local path."),
        (("s3://bucket/in.raw", "-", "--raw", "4x4"), "s3://bucket/in.raw is the URL of a store"),
        (("s3://bucket/a.png", "-"), "s3://bucket/a.png is the URL of a store"),
        (("in", "out", "--report", "s3://bucket/r.html"), "the report s3://bucket/r.html is the URL of a store"),
        (("in", "out", "--manifest", "gs://bucket/m.jsonl"), "the manifest gs://bucket/m.jsonl is the URL of a store"),
        (("in", "out", "--files-from", "az://bucket/list"), "the list az://bucket/list is the URL of a store"),
        (("hdfs://host/in", "out"), "hdfs://host/in is not a URL of a store that is known"),
        (("in", "s3a://bucket/out"), "s3a://bucket/out is not a URL of a store that is known"),
        (("s3://", "out"), "is not the URL of an object"),
        (("s3://key:secret@bucket/in", "out"), "is not the URL of an object"),
        (("s3://bucket/a//b", "out"), "is not the URL of an object"),
        (("s3://bucket/../b", "out"), "is not the URL of an object"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path, blur_file, dae_run, arguments, words):
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", Image(random_pixels((4, 5))))
    refused = dae_run("-m", blur_file, *arguments, cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert words in refused.stderr


def test_an_output_within_the_input_is_refused(moto, pictures, blur_file, dae_run_on):
    fill(moto, pictures)
    for output in ("in", "in/clean"):
        refused = dae_run_on(moto, "-m", blur_file, f"{moto.url}/in", f"{moto.url}/{output}")
        assert refused.returncode == 2
        assert "a second run would denoise its own results" in refused.stderr


def test_a_bucket_without_images_and_no_bucket(moto, blur_file, dae_run_on):
    empty = dae_run_on(moto, "-m", blur_file, f"{moto.url}/in", "out")
    assert (empty.returncode, "holds no image" in empty.stderr) == (2, True)
    missing = dae_run_on(moto, "-m", blur_file, "s3://no-such-bucket/in", "out")
    assert (missing.returncode, "cannot be listed: there is no such bucket" in missing.stderr) == (1, True)
