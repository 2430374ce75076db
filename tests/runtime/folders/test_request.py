"""A request is plain data: checked where it is made, the same after a journey."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
from pathlib import Path

import pytest

from dae_runtime import FolderRequest, InputError


@pytest.mark.parametrize(
    "request_",
    [
        FolderRequest("in", "out"),
        FolderRequest(Path("in"), "out/", strength=0.5, format="png", reference=Path("clean"), resume=True, max_pixels=10**6),
        FolderRequest(os.fsdecode(b"\xff"), "\u8272", manifest=Path("m.jsonl"), report="r.html", batch_size=3),
    ],
)
def test_a_request_is_the_same_after_pickle_and_json(request_):
    assert pickle.loads(pickle.dumps(request_)) == request_
    values = dataclasses.asdict(request_)
    assert FolderRequest(**json.loads(json.dumps(values))) == request_
    assert {type(value) for value in values.values()} <= {str, float, int, bool, type(None)}


def test_paths_are_kept_as_they_were_written():
    request = FolderRequest(Path("in"), "out.d/", report=Path("a") / "r.html")
    assert (request.source, request.output, request.report) == ("in", "out.d/", "a/r.html")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": 5}, r"source must be a path.*received 5 \(int\)"),
        ({"output": None}, "output must be a path"),
        ({"reference": b"clean"}, "reference must be a path"),
        ({"strength": 1.5}, "strength must be a number from 0 to 1, not 1.5"),
        ({"strength": float("nan")}, "strength must be a number from 0 to 1, not nan"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1 to 4096, not 0"),
        ({"max_memory_mb": -1}, "max_memory_mb must be a whole number from 1 to 16777216, not -1"),
        ({"max_pixels": 1.5}, "max_pixels must be a whole number from 0 to 100000000000, not 1.5"),
        ({"strength": "1"}, "strength must be a number from 0 to 1, not '1'"),
        ({"overwrite": "false"}, "overwrite must be True or False, not 'false'"),
        ({"resume": None}, "resume must be True or False, not None"),
        ({"suffix": None}, "suffix must be text, not None"),
        ({"format": 3}, "format must be text, not 3"),
    ],
)
def test_an_unusable_value_is_named(changes, words):
    with pytest.raises(InputError, match=words):
        FolderRequest(**{"source": "in", "output": "out"} | changes)


def test_retrying_what_failed_resumes():
    assert [FolderRequest("in", "out", **flags).resumes for flags in ({}, {"resume": True}, {"retry_failed": True})] == [
        False,
        True,
        True,
    ]
