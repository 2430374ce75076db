"""URLs of objects as paths."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from dae_runtime.errors import InputError
from dae_runtime.jobs.locations import ObjectPath, is_url, path_of
from dae_runtime.jobs.plan import Job
from dae_runtime.jobs.storage import stamp_of_object


def test_a_url_is_a_path_that_keeps_its_text():
    path = path_of("s3://bucket/a/b c:/d.png")
    assert isinstance(path, ObjectPath)
    assert (str(path), path.store, path.key) == ("s3://bucket/a/b c:/d.png", ("s3", "bucket"), "a/b c:/d.png")
    assert (path.name, path.suffix, str(path.parent)) == ("d.png", ".png", "s3://bucket/a/b c:")
    assert str(path_of("gs://bucket/") / path.relative_to(path_of("s3://bucket/a"))) == "gs://bucket/b c:/d.png"
    assert str(Path("/out") / path.relative_to(path_of("s3://bucket/a"))) == "/out/b c:/d.png"
    assert str(pickle.loads(pickle.dumps(path))) == str(path)
    assert pickle.loads(pickle.dumps(path)) == path_of("s3://bucket/a/b c:/d.png")
    assert not path.exists()


def test_a_job_of_objects():
    job = Job("s3://bucket/in/a.png", path_of("az://container/out") / "a.png", "clean/a.png")
    assert (str(job.source), str(job.destination), job.reference) == (
        "s3://bucket/in/a.png",
        "az://container/out/a.png",
        Path("clean/a.png"),
    )
    assert job == Job("s3://bucket/in/a.png", "az://container/out/a.png", "clean/a.png")


@pytest.mark.parametrize("text", ["a.png", "s3:/bucket", "/s3://bucket", "s3", "./s3://bucket", "C:\\a"])
def test_other_texts_are_local(text):
    assert not is_url(text)
    assert type(path_of(text)) is type(Path())


@pytest.mark.parametrize(
    "text",
    ["s3://", "s3://a", "s3://user:word@bucket/a", "gs://bucket/a//b", "az://bucket/./a", "s3://b cket", "http://host/a"],
)
def test_what_is_no_object_is_refused(text):
    with pytest.raises(InputError, match=r"is not (the URL of an object|a URL of a store that is known)"):
        path_of(text)


def test_stamps_do_not_depend_on_how_an_etag_is_written():
    stamps = {stamp_of_object(5, tag, None) for tag in ('"abc"', "abc", 'W/"abc"')}
    assert len(stamps) == 1
    assert stamp_of_object(5, "xyz", None) not in stamps
    assert stamp_of_object(6, "abc", None) not in stamps
