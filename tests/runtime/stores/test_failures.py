"""Stores that fail for a while or for good, processes that are killed, and programs that write at the same time."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from builders import random_pixels, wait_until
from dae_runtime import Denoiser, FolderRequest, run_folder
from dae_runtime.images import encode
from dae_runtime.jobs import bucket
from dae_runtime.jobs.locations import ObjectPath
from dae_runtime.jobs.places import storage_of

from .conftest import KEY, SECRET

pytestmark = pytest.mark.slow


@pytest.fixture
def filled(moto, pictures):
    for name, content in pictures.items():
        moto.put(f"in/{name}", content)
    return moto


def test_errors_that_pass_are_not_noticed(filled, trouble, pictures, blur_file, dae_run_on):
    trouble.rule = lambda method, path, count: "503" if count == 0 else ""
    done = dae_run_on(trouble, "-m", blur_file, f"{filled.url}/in", f"{filled.url}/out", "-r")
    assert done.returncode == 0, done.stderr
    assert "ignores If-None-Match" not in done.stderr
    assert len(filled.objects("out")) == len(pictures)


def test_errors_that_stay_are_named_for_each_file(filled, trouble, pictures, blur_file, dae_run_on):
    def rule(method: str, path: str, count: int) -> str:
        if (method, path.rpartition("/in/")[2]) == ("GET", "a.png") or (method, path.rpartition("/out/")[2]) == (
            "PUT",
            "b.jpg",
        ):
            return "503"
        return "hang" if (method, path.rpartition("/in/")[2]) == ("GET", "z.png") else ""

    trouble.rule = rule
    command = ("-m", blur_file, f"{filled.url}/in", f"{filled.url}/out", "-r", "--verbose")
    done = dae_run_on(trouble, *command, AWS_TIMEOUT="1s")
    assert done.returncode == 3, done.stderr
    assert (
        f"failed: {filled.url}/in/a.png: cannot be read: the store answers 503 Service Unavailable (SlowDown).\n"
        in done.stderr
    )
    assert f"failed: {filled.url}/out/b.jpg: cannot be written: the store answers 503 Service Unavailable" in done.stderr
    assert (
        f"failed: {filled.url}/in/z.png: cannot be read: the store cannot be reached, or did not answer in time.\n"
        in done.stderr
    )
    assert len(filled.objects("out")) == len(pictures) - 3
    assert not [secret for secret in (KEY, SECRET) if secret in done.stderr + done.stdout]
    trouble.rule = lambda method, path, count: ""
    again = dae_run_on(trouble, *command)
    assert f"3 of {len(pictures)} files denoised, {len(pictures) - 3} already complete" in again.stdout


def test_a_listed_object_that_cannot_be_looked_at_fails_alone(filled, trouble, pictures, blur_file, dae_run_on):
    trouble.rule = lambda method, path, count: "503" if path.endswith("/in/a.png") else ""
    names = "\n".join(pictures)
    command = ("-m", blur_file, f"{filled.url}/in", f"{filled.url}/out", "--files-from", "-")
    done = dae_run_on(trouble, *command, input_=names)
    assert done.returncode == 3, done.stderr
    assert re.search(r"failed: s3://\S*/in/a\.png: cannot be (looked at|read): the store answers 503", done.stderr)
    assert len(filled.objects("out")) == len(pictures) - 1


def test_an_edited_output_that_cannot_be_read_now_is_not_replaced(filled, trouble, blur_file, dae_run_on):
    command = ("-m", blur_file, f"{filled.url}/in", f"{filled.url}/out")
    assert dae_run_on(filled, *command).returncode == 0
    edited = encode(random_pixels((5, 5)), "png")
    filled.put("out/a.png", edited)
    filled.put("in/a.png", encode(random_pixels((6, 6)), "png"))
    trouble.rule = lambda method, path, count: "503" if (method, path[-10:]) == ("GET", "/out/a.png") else ""
    refused = dae_run_on(trouble, *command)
    assert refused.returncode == 1
    assert "out/a.png: cannot be read: the store answers 503" in refused.stderr
    assert filled.objects("out")["a.png"] == edited
    kept = dae_run_on(filled, *command)
    assert kept.returncode == 3
    assert "out/a.png: was changed since it was written" in kept.stderr
    assert filled.objects("out")["a.png"] == edited


def test_a_manifest_that_cannot_be_written_ends_the_run(filled, trouble, blur_file, dae_run_on):
    trouble.rule = lambda method, path, count: "503" if "dae-manifest/whole/" in path and method == "PUT" else ""
    done = dae_run_on(trouble, "-m", blur_file, f"{filled.url}/in", f"{filled.url}/out", "-r")
    assert (done.returncode, filled.objects("out")) == (1, {})
    assert "error: the manifest cannot be written: s3://" in done.stderr


def test_a_killed_run_goes_on(filled, blur_file, dae_run_on, tmp_path, dae_run):
    (tmp_path / "in").mkdir()
    for number in range(40):
        content = encode(random_pixels((150, 200, 3), seed=number), "png")
        filled.put(f"many/{number}.png", content)
        (tmp_path / "in" / f"{number}.png").write_bytes(content)
    command = ["-m", str(blur_file), f"{filled.url}/many", f"{filled.url}/out", "--threads", "1"]
    environment = {**os.environ, **filled.environment}
    for least in (3, 12):
        with subprocess.Popen(
            [sys.executable, "-m", "dae_runtime", *command], env=environment, stderr=subprocess.PIPE
        ) as process:
            wait_until(lambda least=least: len(filled.objects("out")) >= least or process.poll() is not None)
            process.send_signal(signal.SIGKILL)
    done = dae_run_on(filled, *command)
    assert done.returncode == 0, done.stderr
    assert dae_run("-m", blur_file, tmp_path / "in", tmp_path / "out").returncode == 0
    assert filled.objects("out") == {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")}
    assert "0 of 40 files denoised, 40 already complete" in dae_run_on(filled, *command).stdout


def test_what_another_program_writes_at_that_moment_stays(filled, trouble, pictures, blur_file, dae_run_on):
    def rule(method: str, path: str, count: int) -> str:
        if method == "PUT" and path.endswith("/out/z.png"):
            filled.put("out/z.png", b"precious")
        return ""

    trouble.rule = rule
    done = dae_run_on(trouble, "-m", blur_file, f"{filled.url}/in", f"{filled.url}/out", "-r")
    assert done.returncode == 3
    assert f"failed: {filled.url}/out/z.png: exists. Give another output, or allow overwriting.\n" in done.stderr
    assert filled.objects("out")["z.png"] == b"precious"
    assert len(filled.objects("out")) == len(pictures)


@pytest.fixture
def here(filled, monkeypatch):
    """This process with the environment of moto."""
    for name, value in filled.environment.items():
        monkeypatch.setenv(name, value)
    return filled


def test_what_is_in_the_way_is_kept_unless_it_is_the_same(here, pictures, blur_file):
    path = ObjectPath(f"{here.url}/out/a.png")
    storage = storage_of(path)
    assert storage.prepare(path.parent) is None
    image = storage.read(ObjectPath(f"{here.url}/in/a.png"), 10**6, None, None)
    begun: list[str | None] = []
    keep = {"begin": lambda finished: begun.append(finished.digest()), "quality": None}
    _, stamp = storage.save(path, image, may_replace=lambda: False, **keep)
    assert storage.stamp(path) == stamp
    assert storage.sha256(path) == begun[0]
    assert storage.save(path, image, may_replace=lambda: False, **keep)[1] == stamp
    here.put("out/a.png", b"precious")
    with pytest.raises(Exception, match="exists"):
        storage.save(path, image, may_replace=lambda: False, **keep)
    assert here.objects("out")["a.png"] == b"precious"
    assert storage.save(path, image, may_replace=lambda: True, **keep)[1] == stamp
    with pytest.raises(Exception, match=r"bytes are no image of up to 1e-06 megapixels|is larger|pixels"):
        storage.read(ObjectPath(f"{here.url}/in/a.png"), 1, None, None)


def test_the_lines_of_a_manifest_in_a_store(here, pictures, blur_file, caplog):
    request = FolderRequest(f"{here.url}/in", f"{here.url}/out", recursive=True)
    caplog.set_level(logging.DEBUG)
    with Denoiser(blur_file, "cpu", 1) as denoiser:
        assert run_folder(request, denoiser).done == len(pictures)
        keys = sorted(here.keys("out/dae-manifest"))
        assert run_folder(request, denoiser).skipped == len(pictures)
        assert sorted(here.keys("out/dae-manifest")) == keys  # nothing to do leaves no part
    store = bucket.Bucket("s3", here.bucket)
    lines = [[json.loads(line) for line in store.get(key).splitlines()] for key in keys]
    assert [{line["status"] for line in part} for part in lines] == [{"begun"}, {"done"}]
    assert all(line["output"].startswith(f"{here.url}/out/") and "output_mark" in line for line in lines[1])
    assert not [secret for secret in (KEY, SECRET) if secret in caplog.text or secret in json.dumps(lines)]


def test_the_package_is_loaded_for_urls_only(run_python):
    code = "import sys, dae_runtime.cli, dae_runtime.folders.run; print('obstore' in sys.modules)"
    assert run_python("-c", code).stdout == "False\n"


def test_a_missing_package_is_named(dae_run, blur_file, tmp_path):
    (tmp_path / "obstore.py").write_text("raise ImportError('none')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    refused = dae_run("-m", blur_file, "s3://bucket/in", "out", env={**os.environ, "PYTHONPATH": path})
    assert refused.returncode == 1
    assert "s3:// needs the package obstore: the extra `store` is not installed (pip install '.[store]'" in refused.stderr


def test_many_objects_are_looked_at_at_once(here, trouble, monkeypatch):
    """Each answer takes 0.1 s: 64 of them one by one would take 6.4 s."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", trouble.environment["AWS_ENDPOINT_URL"])
    trouble.rule = lambda method, path, count: time.sleep(0.1) or ""
    paths = [ObjectPath(f"{here.url}/none/{number}.png") for number in range(64)]
    start = time.monotonic()
    storage_of(paths[0]).survey(paths, None)
    assert time.monotonic() - start < 5
    assert not any(map(storage_of(paths[0]).exists, paths))
