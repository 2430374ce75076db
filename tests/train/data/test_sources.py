"""Sources of images: synthetic, array files, known data sets, folders and pairs of folders."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from dae_runtime.images import Image, write_image
from dae_train.data import sources, synthetic, textures
from dae_train.data.image_set import Dataset
from dae_train.errors import DataError
from dae_train.settings.config import DataSettings


def load(source: Path | str, channels: int | None = None, seed: int = 0, **settings: object) -> Dataset:
    return sources.load_dataset(DataSettings(str(source), **settings), channels, seed)  # type: ignore[arg-type]


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Image(pixels))


def noise_image(height: int, width: int, channels: int = 0, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype)


@pytest.mark.parametrize("channels", [1, 3])
def test_synthetic_images_follow_from_the_seed(channels: int) -> None:
    first = synthetic.make_images(6, 64, channels, seed=5)
    assert (first.shape, first.dtype) == ((6, 64, 64, channels), np.uint8)
    np.testing.assert_array_equal(synthetic.make_images(3, 64, channels, seed=5), first[:3])
    assert not np.array_equal(synthetic.make_images(6, 64, channels, seed=6), first)
    assert len({image.tobytes() for image in first}) == 6


def test_synthetic_images_have_edges_flat_parts_and_textures() -> None:
    leaves = np.stack([synthetic.dead_leaves(96, 1, np.random.default_rng(seed)) for seed in range(16)])
    assert (leaves.min() >= 0, leaves.max() <= 1) == (True, True)
    steps = np.abs(np.diff(leaves, axis=2))
    assert np.mean(steps < 0.02) > 0.4
    assert np.mean(steps > 0.1) > 0.03
    assert np.mean((steps > 0.002) & (steps < 0.05)) > 0.4
    assert 0.3 < leaves.mean() < 0.6


def test_synthetic_images_have_the_spectrum_of_photographs() -> None:
    """Power falls as the square of the frequency: by 0.6 in log10 from one octave to the next; photographs 0.6 to 0.7."""
    images = synthetic.make_images(32, 128, 1, seed=0)[..., 0] / 255
    window = np.outer(np.hanning(128), np.hanning(128))
    power = np.abs(np.fft.fft2((images - images.mean((1, 2), keepdims=True)) * window)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    octaves = [(frequency >= low) & (frequency < 2 * low) for low in (0.03, 0.06, 0.12, 0.24)]
    logs = np.median([[np.log10(image[octave].mean()) for octave in octaves] for image in power], axis=0)
    assert np.all(np.diff(logs) < -0.4)
    assert np.all(np.diff(logs) > -1.1)


def test_synthetic_radii_follow_the_power_law() -> None:
    radii = synthetic._power_law(np.random.default_rng(0), 200_000, 3, 60)
    assert (radii.min() >= 3, radii.max() <= 60) == (True, True)
    # P(R > r) = (r^-2 - b^-2) / (a^-2 - b^-2)
    for r in (4.0, 8.0, 20.0):
        assert np.mean(radii > r) == pytest.approx((r**-2 - 60**-2) / (3**-2 - 60**-2), abs=0.004)


def test_textures_are_standard_and_follow_from_the_seed() -> None:
    first, again = (textures.rough(100, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    for field in (first, textures.stripes(first, np.random.default_rng(4))):
        assert (field.shape, field.dtype) == ((100, 100), np.float32)
        assert (float(field.mean()), float(field.std())) == pytest.approx((0, 1), abs=1e-4)


def test_blur_keeps_what_is_flat_and_lowers_what_is_not() -> None:
    flat = np.full((20, 30, 3), 0.25, np.float32)
    np.testing.assert_allclose(textures.blur(flat, 1.5), flat, atol=1e-6)
    noise = np.random.default_rng(0).standard_normal((200, 200, 1)).astype(np.float32)
    # a Gaussian filter divides the deviation of white noise by 2 sqrt(pi) sigma
    assert textures.blur(noise, 2.0).std() == pytest.approx(1 / (2 * np.sqrt(np.pi) * 2), rel=0.06)


def test_synthetic_source_is_at_least_as_large_as_the_patch() -> None:
    dataset = load("synthetic", limit=4, patch_px=160)
    assert dataset.train.sizes == {(160, 160)}
    assert len(dataset.train) + len(dataset.validation) == 4
    assert load("synthetic", 3, limit=3).train.channels == 3


def test_arrays_like_mnist(digits_file: Path) -> None:
    dataset = load(digits_file)
    assert (len(dataset.train), len(dataset.validation)) == (304, 16)
    assert dataset.test is not None
    assert len(dataset.test) == 40
    assert dataset.train.labels is not None
    with np.load(digits_file) as arrays:
        pool = {(image.tobytes(), int(label)) for image, label in zip(arrays["x_train"], arrays["y_train"], strict=True)}
    kept = zip(dataset.train.clean, dataset.train.labels, strict=True)
    assert {(image.tobytes(), int(label)) for image, label in kept} <= pool
    assert len(load(digits_file, limit=10).train) == 9


def test_split_follows_from_the_seed(digits_file: Path) -> None:
    first, again, other = load(digits_file, seed=1), load(digits_file, seed=1), load(digits_file, seed=2)
    np.testing.assert_array_equal(first.validation.clean, again.validation.clean)
    assert not np.array_equal(first.validation.clean, other.validation.clean)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_array_types(tmp_path: Path, dtype: type) -> None:
    images = np.random.default_rng(0).random((4, 8, 8, 3))
    np.save(tmp_path / "a.npy", (images * (np.iinfo(dtype).max if dtype in (np.uint8, np.uint16) else 1)).astype(dtype))
    train = load(tmp_path / "a.npy").train
    assert train.channels == 3
    assert np.asarray(train.clean).dtype == (np.float32 if dtype is np.float64 else dtype)
    assert load(tmp_path / "a.npy", 1).train.channels == 1


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"pictures": np.zeros((2, 4, 4))}, "found pictures"),
        ({"images": np.zeros((4, 4))}, r"received \(4, 4\)"),
        ({"images": np.zeros((3, 4, 4, 2), np.uint8)}, "C 1 or 3"),
        ({"images": np.zeros((200, 300, 3), np.uint8)}, r"received \(200, 300, 3\), which looks like one color picture"),
        ({"images": np.zeros((200, 300, 4), np.uint8)}, r"one as \(1, H, W, 3\)"),
        ({"images": np.zeros((3, 8, 8), np.int32)}, "received int32"),
        ({"images": np.full((3, 8, 8), 7.0)}, r"must lie in \[0, 1\]; received 7 to 7"),
        ({"images": np.full((3, 8, 8), np.nan)}, "received nan"),
        ({"images": np.zeros((1, 8, 8), np.uint8)}, "at least 2 images"),
        ({"x_train": np.zeros((3, 8, 8), np.uint8), "y_train": np.zeros(2)}, "one label for each of 3"),
        ({"x_train": np.zeros((3, 8, 8), np.uint8), "x_test": np.zeros((3, 8, 8, 2), np.uint8)}, "x_test: .* C 1 or 3"),
        ({"images": np.array([{}, {}], object)}, "cannot be read"),
    ],
)
def test_unusable_arrays_are_explained(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=said):
        load(tmp_path / "a.npz")


def test_test_images_have_the_channels_of_the_training_images(tmp_path: Path) -> None:
    gray, color = np.full((3, 8, 8), 9, np.uint8), np.full((3, 8, 8, 3), 9, np.uint8)
    for train, test in ((gray, color), (color, gray)):
        np.savez(tmp_path / "a.npz", x_train=train, x_test=test)
        dataset = load(tmp_path / "a.npz")
        assert dataset.test is not None
        assert dataset.test.channels == dataset.train.channels == (3 if train is color else 1)


def test_damaged_array_file(tmp_path: Path, digits_file: Path) -> None:
    (tmp_path / "a.npz").write_bytes(digits_file.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"a\.npz cannot be read"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize("source", ["nowhere", "missing.npz", "MNIST"])
def test_missing_source_lists_the_valid_ones(source: str) -> None:
    with pytest.raises(DataError, match=f"no training data at '{source}': expected synthetic, mnist"):
        load(source)


def test_mnist_from_the_cache(tmp_path: Path, digits_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    for name in ("mnist", "fashion_mnist"):
        cached = tmp_path / "datasets" / f"{name}.npz"
        cached.write_bytes(digits_file.read_bytes())
        dataset = load(name)
        assert (len(dataset.train), dataset.train.channels) == (304, 1)
        assert cached.read_bytes() == digits_file.read_bytes()
    np.savez(tmp_path / "datasets" / "mnist.npz", x_train=np.zeros((3, 28, 28), np.uint8))
    with pytest.raises(DataError, match="lacks the arrays y_train, x_test, y_test"):
        load("mnist")


@pytest.mark.parametrize(
    ("name", "files"),
    [("mnist", ["datasets/mnist.npz"]), ("fashion_mnist", ["train-images-idx3-ubyte.gz", "datasets/fashion-mnist"])],
)
def test_without_network_the_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, files: list[str]
) -> None:
    import urllib.error

    from keras.src.utils import file_utils

    def no_network(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    monkeypatch.setattr(file_utils, "urlretrieve", no_network)
    with pytest.raises(DataError) as caught:
        load(name)
    for part in ("not in the Keras cache", "Name or service not known", *files):
        assert part in str(caught.value)


def test_fashion_mnist_from_the_files_of_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.utils import file_utils

    folder = tmp_path / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    for part, count in (("train", 6), ("t10k", 3)):
        images = np.random.default_rng(count).integers(0, 255, (count, 28, 28), np.uint8)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + images.tobytes()))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + bytes(count)))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    dataset = load("fashion_mnist")
    assert dataset.test is not None
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (5, 1, 3)


def test_folder_is_read_recursively(tmp_path: Path) -> None:
    save(tmp_path / "a.png", noise_image(20, 30))
    save(tmp_path / "sub" / "ä b.png", noise_image(16, 16, dtype=np.uint16))
    save(tmp_path / "sub" / "deep" / "c.jpg", noise_image(40, 24, 3))
    save(tmp_path / "alpha.png", noise_image(12, 12, 4))
    (tmp_path / "notes.txt").write_text("no image")
    gray = load(tmp_path, 1)
    everything = [*gray.train.clean, *gray.validation.clean]
    assert sorted(image.shape for image in everything) == [(12, 12, 1), (16, 16, 1), (20, 30, 1), (40, 24, 1)]
    assert {image.dtype for image in everything} == {np.dtype(np.uint8), np.dtype(np.uint16)}
    assert load(tmp_path).train.channels == 3
    assert len(load(tmp_path, limit=2).train) == 1


def test_gray_folder_stays_gray(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"{number}.png", noise_image(16, 16, seed=number))
    assert load(tmp_path).train.channels == 1


def test_all_unreadable_images_of_a_folder_are_listed(tmp_path: Path) -> None:
    save(tmp_path / "good.png", noise_image(32, 32))
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:300])
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert "2 images" in str(caught.value)
    assert "cut.png" in str(caught.value)
    assert "empty.jpg" in str(caught.value)
    assert "good.png" not in str(caught.value)


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no images. Expected files ending in .*\.png"):
        load(tmp_path)


def test_changed_images_are_refused(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"{number}.png", noise_image(16, 16, seed=number))
    sha256 = load(tmp_path).sha256
    assert load(tmp_path, sha256=sha256).sha256 == sha256
    save(tmp_path / "2.png", noise_image(16, 16, seed=9))
    with pytest.raises(DataError, match="differ from those of the run"):
        load(tmp_path, sha256=sha256)


def test_pairs_are_matched_by_relative_path(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "sub/a.png", "sub/b.png")):
        clean = noise_image(20 + number, 24, seed=number) // 2
        save(tmp_path / "clean" / name, clean)
        save(tmp_path / "noisy" / name, clean + 100)
    dataset = load(tmp_path / "noisy", target=str(tmp_path / "clean"))
    for part in (dataset.train, dataset.validation):
        assert part.noisy is not None
        for noisy, clean in zip(part.noisy, part.clean, strict=True):
            np.testing.assert_array_equal(noisy, clean + 100)


def test_all_unmatched_pairs_are_listed(tmp_path: Path) -> None:
    noisy, clean = tmp_path / "noisy", tmp_path / "clean"
    for folder, names in ((noisy, "abcd"), (clean, "abce")):
        for name in names:
            save(folder / f"{name}.png", noise_image(20, 20))
    save(clean / "b.png", noise_image(20, 24))
    (noisy / "c.png").write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        load(noisy, target=str(clean))
    text = str(caught.value)
    assert "4 images" in text
    for part in ("d.png: no clean counterpart", "e.png: no noisy counterpart", "b.png: 20x20 noisy, 24x20 clean", "c.png"):
        assert part in text
    assert "a.png" not in text


def test_pairs_need_two_folders(tmp_path: Path, digits_file: Path) -> None:
    with pytest.raises(DataError, match="the folder of noisy images"):
        load(digits_file, target=str(tmp_path))
    with pytest.raises(DataError, match="the folder of clean images"):
        load(tmp_path, target=str(tmp_path / "missing"))
