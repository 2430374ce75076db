"""The order of the house: which package, and which room of it, may import which, and what may be imported where."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from dae_tools.structure import LONGEST_LINES, ORDER, SOURCES, floor_numbers, picture, read_house, unit_of

HOUSE = read_house()
PACKAGES = {
    "dae_runtime": {"dae_runtime"},
    "dae_export": {"dae_export", "dae_runtime"},
    "dae_train": {"dae_train", "dae_runtime"},
    "dae_tools": {"dae_tools", "dae_export", "dae_train", "dae_runtime"},
}
"""What each package may import of ours."""
ENGINES = {
    "onnxruntime": {"dae_runtime.engine", "dae_export.precision"},  # to run a model, and for its quantizer
    "pyvips": {"dae_runtime.images"},
    "rawpy": {"dae_runtime.images"},
    "obstore": {"dae_runtime.jobs"},
    "ray": {"dae_runtime.jobs"},
    "pillow_heif": {"dae_runtime.images"},
    "tf2onnx": {"dae_export.source"},
    "matplotlib": {"dae_train.data", "dae_train.runs", "dae_tools.level_picture"},  # letters of synthetic pages, and plots
    "keras": {
        "dae_export.source",
        "dae_tools.accelerator",
        "dae_tools.blend",
        "dae_tools.layers",
        "dae_tools.pack_network",
        *(f"dae_train.{room}" for room in ("data", "noise", "networks", "learning", "judging", "fitting", "runs")),
    },
}
"""The only rooms that import these."""


def has_face(room: str) -> bool:
    path = HOUSE.files.get(room)
    return path is not None and path.name == "__init__.py" and "__all__" in path.read_text("utf-8")


def test_every_unit_has_a_floor() -> None:
    for package in ORDER:
        units = {unit_of(module) for module in HOUSE.files if module.split(".")[0] == package} - {"__init__"}
        assert units == set(floor_numbers(package)) - {"__init__"}


@pytest.mark.parametrize("package", ORDER)
def test_rooms_import_downwards_only_and_in_no_circle(package: str) -> None:
    assert HOUSE.arrows_up(package) == set()
    assert HOUSE.circles(package) == []


@pytest.mark.parametrize("package", ORDER)
def test_packages_import_from_heavy_to_light(package: str) -> None:
    tops = {found.target.split(".")[0] for found in HOUSE.imports if found.importer.split(".")[0] == package}
    assert tops & set(ORDER) <= PACKAGES[package]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_is_imported_in_its_rooms_only(engine: str) -> None:
    found = {".".join(i.importer.split(".")[:2]) for i in HOUSE.imports if i.target.split(".")[0] == engine}
    assert found == ENGINES[engine]


def test_a_room_with_a_face_is_imported_by_its_face() -> None:
    def passes_by(importer: str, target: str) -> bool:
        room = ".".join(target.split(".")[:2])
        return target != room and has_face(room) and importer != room and not importer.startswith(f"{room}.")

    assert [found for found in HOUSE.imports if passes_by(found.importer, found.target)] == []


def test_a_face_lists_what_it_imports() -> None:
    for module, path in HOUSE.files.items():
        if module.count(".") == 1 and has_face(module):
            tree = ast.parse(path.read_text("utf-8"))
            names = {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level == 1 for a in n.names}
            listed = next(ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign))
            assert set(listed) == names, module


def test_no_file_repeats_the_name_of_its_room_and_none_is_long() -> None:
    for module, path in HOUSE.files.items():
        assert len(set(module.split("."))) == len(module.split(".")), module
        assert len(path.read_text("utf-8").splitlines()) <= LONGEST_LINES, module


def test_the_picture_for_contributors_is_that_of_the_code() -> None:
    assert set(SOURCES) == set(ORDER)
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")
    assert picture(HOUSE) in text, "print it with: python -m dae_tools.structure --picture"
