"""A finished run, the words of a card, test images: all that a card is made of."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dae_runtime.contract import Quality
from dae_runtime.images import Image, write_image
from dae_tools.cards import drawings as drawn
from dae_tools.cards.command import CardRequest
from dae_tools.export_bench import comparison
from dae_train.judging.history import COLUMNS, write_history

CARD = """
[card]
purpose = "Shows how cards are made."
protocol = "{protocol}"
data = "Nothing but waves."
terms = "Anybody may use waves."
test_data = "other waves."
licence = "MIT"
repeat = "make model NAME=toy"
limits = ["It blurs.", "It knows nothing."]
"""
RUN = """command = "dae-train /home/somebody/waves --noise gaussian:0.1"
[record]
device = "CPU, 2 cores"
[noise]
spec = "{noise}"
clip = false
[data]
source = "/home/somebody/waves"
[training]
batch_size = 8
"""


@pytest.fixture(autouse=True)
def _small_images(monkeypatch):
    """Time small images: other denoisers take seconds for large ones."""
    monkeypatch.setattr(comparison, "COMPARED_PX", 48)


@pytest.fixture
def make_finished_run(tmp_path):
    """Write a finished run directory of ten epochs of 100 steps."""

    def make(noise="gaussian:0.1"):
        run = tmp_path / "run"
        run.mkdir(exist_ok=True)
        (run / "run.toml").write_text(RUN.format(noise=noise), "utf-8")
        (run / "result.toml").write_text("parameters = 1234\nepochs = 10\nseconds = 7200.0\n", "utf-8")
        changing = ({"epoch": epoch, "step": 100 * epoch, "val_psnr": 30 + 0.1 * epoch} for epoch in range(1, 11))
        write_history(run / "history.csv", [dict.fromkeys(COLUMNS, 0.0) | row for row in changing])
        return run

    return make


@pytest.fixture
def write_words(tmp_path):
    """Write words for a card of a protocol."""

    def write(protocol, extra=""):
        path = tmp_path / f"{protocol}.toml"
        path.write_text(CARD.format(protocol=protocol) + extra, "utf-8")
        return path

    return write


@pytest.fixture
def request_for(tmp_path, make_finished_run, write_words, make_contract_file):
    """Return a request for a card of the blur, by protocol, with everything that it needs."""

    def make(protocol, noise="gaussian:0.1", extra="", **changes):
        words = write_words(protocol, extra).rename(tmp_path / "toy.toml")
        quality = Quality(8, 20.0, 25.0, 25.0)
        model = make_contract_file("toy", quality=quality, report={"macs_per_pixel": {"network": 144.0, "computed": 150.0}})
        test = {"gaussian": photographs, "pairs": pairs, "digits": digits}[protocol](tmp_path)
        reference = tmp_path / "clean" if protocol == "pairs" else None
        request = CardRequest(
            make_finished_run(noise), model, words, test, reference, photographs(tmp_path), threads=1, rounds=1
        )
        return dataclasses.replace(request, **changes)

    return make


def photographs(root):
    folder = root / "photographs"
    folder.mkdir(exist_ok=True)
    ramp = np.linspace(20, 235, 200)
    for number in range(2):
        write_image(folder / f"{number}.png", Image((np.add.outer(ramp, np.roll(ramp, 50 * number)) / 2).astype(np.uint8)))
    return folder


def pairs(root):
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(((40, 50), (64, 32))):
        clean = np.full((height, width), 100 + 50 * number, np.uint8)
        for name, image in (("clean", clean), ("noisy", np.clip(clean + rng.normal(0, 20, clean.shape), 0, 255))):
            (root / name).mkdir(exist_ok=True)
            write_image(root / name / f"{number}.png", Image(np.rint(image).astype(np.uint8)))
    return root / "noisy"


def digits(root):
    x_test = np.repeat(drawn.digits()[..., 0], 60, axis=0)  # more than fit in one batch
    np.savez(root / "digits.npz", x_test=x_test)
    return root / "digits.npz"
