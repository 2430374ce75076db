"""Groups of images are not split between training and validation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dae_runtime.images import Image, write_image
from dae_train import DataError, DataSettings
from dae_train.data.groups import group_numbers, read_groups
from dae_train.data.image_set import ImageSet
from dae_train.data.sources import check_source, load_dataset
from dae_train.settings.flags import command_line, merge


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Noisy and clean scans of 8 pages, 3 of each page, of several sizes, some of them in color."""
    rng = np.random.default_rng(0)
    for page in range(8):
        for scan in range(3):
            size = (20 + page, 30 - page)
            noisy = rng.integers(0, 255, (*size, 3) if scan == 1 else size, np.uint8)
            for kind, pixels in (("noisy", noisy), ("clean", np.full(size, 10 * page, np.uint8))):
                (tmp_path / kind / f"batch{scan}").mkdir(parents=True, exist_ok=True)
                write_image(tmp_path / kind / f"batch{scan}" / f"{page}.png", Image(pixels))
    return tmp_path


def write_groups(folder: Path, document: Any) -> str:
    path = folder / "groups.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def settings(scans: Path, document: Any, **changes: Any) -> DataSettings:
    groups = write_groups(scans, document)
    return DataSettings(str(scans / "noisy"), str(scans / "clean"), validation_groups=groups, **changes)


PAGES = [[f"batch{scan}/{page}" for scan in range(3)] for page in range(8)]


@pytest.mark.parametrize("fraction", [0.01, 0.125, 0.4, 0.99])
@pytest.mark.parametrize("seed", [0, 1])
def test_pages_stay_together(scans: Path, fraction: float, seed: int) -> None:
    dataset = load_dataset(settings(scans, PAGES, validation_fraction=fraction), None, seed)
    training, judging = ({int(image[0, 0, 0]) for image in part.clean} for part in (dataset.train, dataset.validation))
    assert training.isdisjoint(judging)
    assert len(training) + len(judging) == 8
    assert len(dataset.validation) == 3 * min(7, max(1, round(8 * fraction)))
    assert {image.shape[2] for image in [*dataset.train.clean, *(dataset.train.noisy or [])]} == {3}
    assert len(dataset.train.sizes | dataset.validation.sizes) == 8


def test_split_follows_from_the_seed_and_the_groups(scans: Path) -> None:
    first, again, other = (load_dataset(settings(scans, PAGES), None, seed) for seed in (1, 1, 3))
    assert first.validation.names == again.validation.names != other.validation.names
    regrouped = load_dataset(settings(scans, PAGES[1:]), None, 1)
    assert regrouped.sha256 != first.sha256  # a run that is repeated with other groups is refused


def test_images_in_no_list_are_groups_of_their_own() -> None:
    images = ImageSet(np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1))
    groups = np.array([0] * 6 + [1, 2, 3, 4])
    sizes = {len(images.split(0.2, seed, groups)[1]) for seed in range(12)}
    assert sizes <= {1, 2, 6}
    for seed in range(12):
        train, judging = images.split(0.2, seed, groups)
        assert len(train) + len(judging) == 10
        assert sum(int(image) < 6 for image in judging.clean.ravel()) in (0, 6)


def test_names_with_and_without_suffix_and_numbers(tmp_path: Path) -> None:
    path = Path(write_groups(tmp_path, [["a.png", "b"], [3, "dir/4.tif"]]))
    names = ["3.png", "a.png", "b.jpg", "c.png", "dir/4.tif"]
    numbers = group_numbers(path, names, complete=True).tolist()
    assert numbers[1] == numbers[2]
    assert numbers[0] == numbers[4]
    assert len(set(numbers)) == 3


def test_empty_lists_join_no_images(tmp_path: Path) -> None:
    path = Path(write_groups(tmp_path, [[], [], ["c.png"]]))
    assert len(set(group_numbers(path, ["a.png", "b.png", "c.png"], complete=True).tolist())) == 3


@pytest.mark.parametrize(
    ("document", "part"),
    [
        ("[[", "cannot be read"),
        ({"a": 1}, "expected a list of lists of file names"),
        ([["a", True]], "expected a list of lists of file names"),
        ([["a"], ["a"]], "names a more than once"),
    ],
)
def test_damaged_groups_are_refused_before_images_are_read(scans: Path, document: Any, part: str) -> None:
    with pytest.raises(DataError, match=part):
        check_source(settings(scans, document))


def test_groups_must_fit_the_images(scans: Path) -> None:
    with pytest.raises(DataError, match="names nowhere, which the data do not have"):
        load_dataset(settings(scans, [*PAGES, ["nowhere"]]), None, 0)
    assert len(load_dataset(settings(scans, PAGES, limit=4), None, 0).train) == 3
    with pytest.raises(DataError, match=r"at least 2 groups of images, .* received 1"):
        load_dataset(settings(scans, [[name for page in PAGES for name in page]]), None, 0)
    with pytest.raises(DataError, match="with and without its suffix"):
        group_numbers(Path(write_groups(scans, [["a.png"], ["a"]])), ["a.png"], complete=True)
    with pytest.raises(DataError, match="are for a folder of images, not for synthetic"):
        check_source(DataSettings(validation_groups=write_groups(scans, [])))
    assert read_groups(Path(write_groups(scans, []))) == []


def test_flag(scans: Path) -> None:
    given = {"data": "scans", "target": "clean", "val_groups": "groups.json"}
    config = merge(None, given)
    assert config.data.validation_groups == "groups.json"
    assert "--val-groups groups.json" in command_line(config, given)
