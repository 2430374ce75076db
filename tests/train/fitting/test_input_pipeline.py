"""Input pipelines and throughput."""

import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from builders import small_autoencoder
from dae_train import DataSettings, NoiseSettings, RunConfig, TrainingSettings, train
from dae_train.data.batches import BatchPlan, plan_batches
from dae_train.data.image_set import ImageSet
from dae_train.fitting import session
from dae_train.fitting.input_pipeline import DEVICE_MEMORY, DeviceFeed, Feed, HostFeed, fits_device
from dae_train.fitting.throughput import Meter
from dae_train.judging.history import read_history

pytestmark = pytest.mark.slow
TINY = small_autoencoder()


def plans() -> Iterator[BatchPlan]:
    rng = np.random.default_rng(0)
    sizes = [(20, 31, 3), (16, 16, 3), (40, 12, 3)]
    clean = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    yield plan_batches(ImageSet(clean), (8, 8), 16, None, seed=1)
    yield plan_batches(ImageSet(clean, [255 - image for image in clean]), (8, 12), 5, None, seed=2)
    yield plan_batches(ImageSet(rng.integers(0, 256, (9, 8, 8, 1), np.uint8)), (8, 8), 4, None, seed=3)


@pytest.mark.parametrize("plan", plans(), ids=["crops", "pairs", "whole"])
def test_both_feeds_deliver_the_same_batches(plan: BatchPlan) -> None:
    models = []
    for feed in (HostFeed(plan), DeviceFeed(plan)):
        inputs, image, target = feed.tensors()
        models.append((feed, keras.Model(inputs, [image, target])))
    for step in (0, 1, 2, 30, 7):
        expected = plan.batch(step)
        for feed, model in models:
            for got, wanted in zip(model.predict_on_batch(list(feed.batch(step))), expected, strict=True):
                np.testing.assert_allclose(got, wanted, atol=1e-7)


def test_only_moderate_sets_of_8_bit_images_are_kept_on_the_device() -> None:
    image = np.zeros((8, 8, 1), np.uint8)
    assert fits_device(plan_batches(ImageSet([image], [image]), (4, 4), 2, None, seed=0))
    for clean, noisy in (([image, image.astype(np.uint16)], None), ([image], [image.astype(np.float32)])):
        assert not fits_device(plan_batches(ImageSet(clean, noisy), (4, 4), 2, None, seed=0))
    huge = np.broadcast_to(image, (DEVICE_MEMORY // 64 + 1, 8, 8, 1))
    assert not fits_device(plan_batches(ImageSet(huge), (4, 4), 2, None, seed=0))


def test_training_is_the_same_with_both_feeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(
        tmp_path / "a.npy",
        np.kron(np.random.default_rng(0).integers(0, 256, (6, 9, 9), np.uint8), np.ones((1, 5, 5), np.uint8)),
    )
    settings = RunConfig(
        TINY,
        NoiseSettings("gaussian:0.1"),
        DataSettings(str(tmp_path / "a.npy"), patch_px=16),
        TrainingSettings(steps=12, batch_size=8, schedule="constant"),
    )
    losses = []
    for kind in (HostFeed, DeviceFeed):
        monkeypatch.setattr(session, "choose_feed", kind)
        rows = read_history(train(settings, tmp_path / kind.__name__).run.history)
        assert [row["step"] for row in rows] == [12]
        losses.append(rows[0]["val_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.alone
@pytest.mark.parametrize(("source_ms", "step_ms", "low", "high"), [(0, 20, 0.0, 0.1), (60, 5, 0.75, 1.0), (20, 20, 0.3, 0.7)])
def test_meter_distinguishes_a_slow_source_from_a_slow_network(
    source_ms: float, step_ms: float, low: float, high: float
) -> None:
    def batches() -> Iterator[int]:
        while True:
            time.sleep(source_ms / 1000)
            yield 0

    def step(state: str, iterator: Iterator[int]) -> tuple[dict[str, float], str]:
        next(iterator)
        time.sleep(step_ms / 1000)
        return {"loss": 1.0}, state

    meter, source, logs = Meter(images_per_step=10, measure_every=2), batches(), {}
    timed = meter.timed(step)
    meter.on_epoch_begin(0)
    for _ in range(11):
        assert timed("state", source)[1] == "state"
    meter.on_epoch_end(0, logs)
    assert low <= logs["waiting"] <= high
    assert logs["images_per_s"] == pytest.approx(10_000 / (source_ms + step_ms), rel=0.3)


@pytest.mark.alone
def test_slow_images_are_reported(digits_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(HostFeed):
        def _cut(self, step: int):  # type: ignore[no-untyped-def]
            time.sleep(0.1)
            return super()._cut(step)

    found: dict[str, float] = {}
    settings = RunConfig(TINY, data=DataSettings(str(digits_file)), training=TrainingSettings(steps=16, batch_size=4))
    kinds: tuple[type[Feed], ...] = (HostFeed, Slow)
    for kind in kinds:
        monkeypatch.setattr(session, "choose_feed", kind)
        outcome = train(settings, tmp_path / kind.__name__)
        found[kind.__name__] = outcome.waiting
        assert 1 < outcome.images_per_s < 1e6
    assert found["Slow"] > 0.6
    assert found["HostFeed"] < 0.4
