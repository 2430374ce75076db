"""Several processes, and several devices of one, train as one process on one device does."""

import sys
from pathlib import Path

import numpy as np
import pytest

from dae_runtime.contract import RunDirectory, read_description
from dae_train import ConfigError, Processes, preset_settings
from dae_train.fitting.group import check_split
from dae_train.judging.history import Row, read_history
from process_group import COMMAND, free_port, run_all, run_group

SETTINGS = """
layers = dict(encoder_kernels_px=(3,), encoder_strides=(1,), decoder_kernels_px=(3, 3), decoder_strides=(1, 1))
model = preset_settings("v2", encoder_filters=(4,), decoder_filters=(4,), batch_norm=True, dropout=0.1, **layers)
noise, data = NoiseSettings("gaussian:0.3"), DataSettings(sys.argv[5], patch_px=16)
short = TrainingSettings(epochs=4, steps_per_epoch=50, batch_size=8, schedule="constant", optimizer="adam", learning_rate=1e-3)
first = str(folder / "first.keras")
taught = replace(short, qat=True, init=first, teacher=first)
connect(place)
keras.utils.set_random_seed(index)  # the weights of process 0 count
image = keras.Input((None, None, 1))
features = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
own = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(features), name="own")
def bands(images, seed):
    rng = np.random.default_rng(seed)  # each row depends on the whole batch
    return images + rng.normal(0, 0.2, images.shape) + images.mean() * rng.normal(0, 0.3)
blind = RunConfig(data=data, training=replace(short, supervision="noise2void"))
once = replace(blind, training=replace(blind.training, epochs=1))
"""
TRAIN = """
calls = []
class Count(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        keras.Variable([epoch])  # on this process alone
        calls.append(epoch)
def run(name, config, **given):
    outcome = train(config, mine / f"{name}-{count}", device="cpu", processes=place, **given)
    assert outcome.epochs == config.training.epochs
    return outcome
run("rounded", RunConfig(model, noise, data, taught), callbacks=[Count()])
assert calls == ([0, 1, 2, 3] if index == 0 else []), calls
run("blind", blind, noise=bands, model=own)
if count == 2:
    rows, cut = 4, HostFeed._cut
    def zeros(feed, step):
        arrays = cut(feed, step)
        assert len(arrays[0]) == rows, "each cuts its own rows only"
        return tuple(np.zeros_like(array) for array in arrays) if index else arrays
    HostFeed._cut = zeros
    run("zeros", once, noise=bands, model=own)
"""
DEVICES = """
import jax
from dae_train.fitting.group import Group
outcome = train(once, folder / "devices", device="cpu", noise=bands, model=own)
assert jax.device_count() == 2
undivided = Group(Processes())
undivided.distribute(7)
assert undivided.distribution is None
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, digits_file: Path) -> Path:
    """A folder with the same trainings by one process, and by two, which also train with zeros in one of them."""
    from dae_train.networks import build_network

    folder = tmp_path_factory.mktemp("runs")
    layers = {"encoder_kernels_px": (3,), "encoder_strides": (1,), "decoder_kernels_px": (3, 3), "decoder_strides": (1, 1)}
    small = {"encoder_filters": (4,), "decoder_filters": (4,), "batch_norm": True, "dropout": 0.1, "channels": 1}
    build_network(preset_settings("v2", **layers, **small)).save(folder / "first.keras")
    for count in (1, 2):
        for code, said in run_group(SETTINGS + TRAIN, count, folder, digits_file):
            assert code == 0, said
    return folder


def history(folder: Path, name: str) -> list[Row]:
    return read_history(RunDirectory(folder / name).history)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rounded", "blind"])
def test_two_processes_train_as_one(runs: Path, name: str) -> None:
    """Batch norm, dropout, rounding and a teacher in the one; masked pixels, network and noise of the program in the other."""
    one, two = history(runs, f"{name}-1"), history(runs, f"{name}-2")
    assert [row["step"] for row in two] == [row["step"] for row in one] == [50, 100, 150, 200]
    for a, b in zip(one, two, strict=True):
        assert abs(a["loss"] - b["loss"]) < 1e-5
        assert abs(a["val_loss"] - b["val_loss"]) < 1e-3  # rounding turns the last bits of a weight into a step
    assert one[3]["loss"] < 0.9 * one[0]["loss"]
    first = RunDirectory(runs / f"{name}-2")
    assert read_description(first)["record"]["device"].endswith("process 0 of 2, 2 devices in all")
    for path in (first.best_model, first.last_model, first.result, first.curves, first.samples, first.calibration):
        assert path.is_file()


@pytest.mark.slow
def test_the_other_process_counts_and_writes_nothing(runs: Path) -> None:
    zeros, whole = (history(runs, name)[0]["loss"] for name in ("zeros-2", "blind-2"))
    assert abs(zeros - whole) > 1e-2
    assert not (runs / "unseen-1").exists()


@pytest.mark.slow
def test_two_devices_of_one_process_train_as_one(runs: Path, digits_file: Path) -> None:
    flags = "--xla_force_host_platform_device_count=2"
    ((code, said),) = run_group(SETTINGS + DEVICES, 1, runs, digits_file, XLA_FLAGS=flags)
    assert code == 0, said
    assert "a batch of 7 images is not a multiple of 2 devices: training on one" in said
    assert abs(history(runs, "devices")[0]["loss"] - history(runs, "blind-1")[0]["loss"]) < 1e-5
    devices, one = (read_description(RunDirectory(runs / name))["record"]["device"] for name in ("devices", "blind-1"))
    assert devices == f"{one}, 2 devices"


@pytest.mark.slow
def test_other_settings_are_told_in_every_process(tmp_path: Path, digits_file: Path) -> None:
    place = ["--processes", 2, "--coordinator", f"127.0.0.1:{free_port()}", "--device", "cpu", "-o", tmp_path / "run"]
    lines = [[sys.executable, "-c", COMMAND, digits_file, *place, "--process-id", i, "--seed", i] for i in range(2)]
    for code, said in run_all(lines, tmp_path):
        assert code == 1, said
        assert "error: process 1 does not train what process 0 trains: training.seed is 1, not 0. Start all" in said
    assert not (tmp_path / "run").exists()


def test_batches_that_cannot_be_split_are_refused() -> None:
    check_split(8, 4, 2)
    with pytest.raises(
        ConfigError, match=r"a batch of 8 images cannot be split equally over 3 devices of 3 processes.*multiple"
    ):
        check_split(8, 3, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((0,), "--processes .count. must be from 1 to"),
        ((2, 2, "h:1"), "--process-id .index. must be from 0 to 1"),
        ((2, 0), "--coordinator .coordinator. must be HOST:PORT"),
        ((2, 0, "host"), "HOST:PORT"),
        ((2, 0, ":80"), "HOST:PORT"),
        ((2, 0, "host:70000"), "HOST:PORT"),
        ((2, True, "host:7"), "whole number"),
    ],
)
def test_places_that_cannot_be_are_refused(given: tuple[object, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Processes(*given)  # type: ignore[arg-type]


def test_rows_of_all_parts_are_the_whole_batch() -> None:
    from dataclasses import replace

    from dae_train.data.batches import BatchPlan
    from dae_train.data.image_set import ImageSet
    from dae_train.fitting.input_pipeline import DeviceFeed, HostFeed

    images = ImageSet(np.random.default_rng(0).integers(0, 255, (5, 20, 24, 1), dtype=np.uint8))
    plan = BatchPlan(images, (8, 8), 6, 4, seed=1, augment=True)
    parts = [replace(plan, part=part, parts=3) for part in range(3)]

    def noise(images: np.ndarray, step: int) -> np.ndarray:
        return images + np.random.default_rng(step).normal(0, 0.1, images.shape).astype(np.float32)

    for make in (HostFeed, DeviceFeed, lambda plan: HostFeed(plan, noise)):
        for whole, *split in zip(make(plan).batch(7), *(make(part).batch(7) for part in parts), strict=True):
            assert [len(rows) for rows in split] == [2, 2, 2]
            np.testing.assert_array_equal(np.concatenate(split), whole)
