"""What becomes of chunks whose worker is lost, and of models that travel; without a cluster."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from builders import random_pixels
from dae_runtime import DaeError, Denoiser
from dae_runtime.inference import PortableDenoiser
from dae_runtime.jobs.attempts import MOST_DEATHS, Chunk, Chunks, Item
from dae_runtime.jobs.plan import Job


def jobs(*names: str) -> list[Job]:
    return [Job(f"in/{name}", f"out/{name}") for name in names]


def names(chunk: Chunk | None) -> list[str]:
    assert chunk is not None
    return [item.job.source.name for item in chunk.items]


def test_a_lost_chunk_comes_back_first_and_goes_to_an_idle_worker_alone():
    chunks = Chunks(iter([jobs("a", "b"), jobs("c")]))
    first = chunks.take(idle=False)
    assert first is not None
    chunks.put_back(first.lost())
    assert chunks.take(idle=False) is None
    again = chunks.take(idle=True)
    assert again is first
    assert (again.deaths, again.alone) == (1, True)
    assert names(chunks.take(idle=False)) == ["c"]
    assert (chunks.take(idle=True), chunks.more(5)) == (None, 0)


def test_the_plan_is_read_no_further_than_needed():
    read = []
    chunks = Chunks(read.append(number) or jobs(str(number)) for number in range(10))
    assert chunks.more(3) == 3
    assert read == [0, 1, 2]


def test_a_chunk_that_kills_is_split_and_a_file_that_kills_alone_is_given_up():
    chunk = Chunk([Item(job, begun=True) for job in jobs("a", "b", "c")])
    for _ in range(MOST_DEATHS - 1):
        assert chunk.lost() == [chunk]
    parts = chunk.lost()
    assert [(names(part), part.deaths, part.alone) for part in parts] == [([name], 0, True) for name in "abc"]
    assert all(part.items[0].begun for part in parts)
    for _ in range(MOST_DEATHS - 1):
        assert parts[0].lost() == [parts[0]]
    assert parts[0].lost() == []


@pytest.mark.parametrize("model", ["default", "document"])
def test_models_travel_and_denoise_the_same(model):
    gray, color = random_pixels((24, 32)), random_pixels((24, 32, 3))
    with Denoiser(model, "cpu", 1) as denoiser:
        sent = pickle.loads(pickle.dumps(PortableDenoiser.of(denoiser, "cpu", 1, None)))
        strangers = {colors: replace(each, name="") for colors, each in sent.models.items()}  # as where they are not installed
        for received in (sent, replace(sent, models=strangers)):
            with received.open() as opened:
                for image in (gray, color):
                    np.testing.assert_array_equal(opened.denoise(image), denoiser.denoise(image))
                again = pickle.loads(pickle.dumps(opened))
                np.testing.assert_array_equal(again.denoise(gray), denoiser.denoise(gray))


def test_models_of_another_version_or_damaged_on_the_way_are_refused(blur_bytes):
    with Denoiser(blur_bytes, "cpu", 1) as denoiser:
        sent = PortableDenoiser.of(denoiser, "cpu", 1, None)
    with pytest.raises(DaeError, match=r"but the command is of 0.0.1"):
        replace(sent, version="0.0.1").open()
    damaged = {colors: replace(model, content=model.content[:-1]) for colors, model in sent.models.items()}
    with pytest.raises(DaeError, match="arrived damaged"):
        replace(sent, models=damaged).open()
