"""Measure and draw the structure of the packages: `python -m dae_tools.structure [--picture]`.

A unit is an entry of a package: a module, or a folder (a room). An arrow is an import from one unit to another of the same
package, counted once. ORDER is the order of the units; tests/test_layers.py checks it, and the picture in CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from dae_runtime.system.command import run_command

ROOT = Path(__file__).parents[2]
LONGEST_LINES = 300

ORDER: dict[str, tuple[str, ...]] = {
    "dae_runtime": (
        "_version errors",
        "contract system",
        "pixels engine",
        "images models",
        "inference",
        "jobs diagnosis",
        "report",
        "folders",
        "cli",
        "__main__ __init__",
    ),
    "dae_export": (
        "errors",
        "graph options",
        "canonical measure rewrites",
        "source precision report",
        "product",
        "pipeline",
        "cli __init__",
    ),
    "dae_train": (
        "errors",
        "settings",
        "data networks",
        "noise learning",
        "judging",
        "fitting",
        "runs",
        "cli __init__",
    ),
    "dae_tools": (
        "accelerator blend camera_noise cluster_bench formats gaussian int8_speed layers ocr_errors pack_network public_names "
        "site structure",
        "fit_level pairs runtime_bench export_bench",
        "cards level_picture noise_numbers plan_memory",
        "controls crops",
    ),
}
"""The units of each package by floor, from the lowest; a unit imports from lower floors only."""
SOURCES = {"dae_runtime": "runtime", "dae_export": "export", "dae_train": "train", "dae_tools": "tools"}
"""The folder of each package."""


@dataclass(frozen=True)
class Import:
    """One import of a module."""

    importer: str
    """Full name of the module."""
    target: str
    """Full name of the imported module or package."""
    line: int


@dataclass(frozen=True)
class House:
    """All modules of the packages, and their imports."""

    files: dict[str, Path]
    """Paths by full module name."""
    imports: tuple[Import, ...]

    def inside(self, package: str) -> Iterator[tuple[str, str]]:
        """Yield importing and imported module for each import within a package."""
        for found in self.imports:
            if found.importer.split(".")[0] == package == found.target.split(".")[0]:
                yield found.importer, found.target

    def arrows(self, package: str) -> set[tuple[str, str]]:
        """Return the pairs (importing unit, imported unit)."""
        pairs = {(unit_of(importer), unit_of(target)) for importer, target in self.inside(package)}
        return {(importer, target) for importer, target in pairs if importer != target}

    def arrows_up(self, package: str) -> set[tuple[str, str]]:
        """Return the arrows that do not lead to a lower floor."""
        floors = floor_numbers(package)
        return {(a, b) for a, b in self.arrows(package) if floors[b] >= floors[a]}

    def circles(self, package: str) -> list[set[str]]:
        """Return the groups of modules that import each other, directly or indirectly."""
        reached = _closure(set(self.inside(package)))
        groups = {frozenset(b for b in targets if module in reached[b]) for module, targets in reached.items()}
        return [set(group) for group in groups if len(group) > 1]


def read_house(root: Path = ROOT) -> House:
    """Read all modules of the packages below a folder with `SOURCES`."""
    files = {}
    for package, source in SOURCES.items():
        for path in sorted((root / source / package).rglob("*.py")):
            parts = path.relative_to(root / source).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return House(files, tuple(found for module, path in files.items() for found in _imports(module, path, files)))


def unit_of(module: str) -> str:
    """Return the unit of a module; `__init__` for the package itself."""
    return module.split(".")[1] if "." in module else "__init__"


def floor_numbers(package: str) -> dict[str, int]:
    """Return the floor of each unit of a package, 0 the lowest."""
    return {unit: number for number, floor in enumerate(ORDER[package]) for unit in floor.split()}


def entries(package: str, root: Path = ROOT) -> list[str]:
    """Return the entries of a package, without the files of every package."""
    folder = root / SOURCES[package] / package
    return sorted(p.name for p in folder.iterdir() if p.name not in ("__init__.py", "__pycache__", "py.typed"))


def picture(house: House) -> str:
    """Return the units of the packages with their purpose, the highest floor first."""
    parts = []
    for package, floors in ORDER.items():
        lines = [package]
        for number, floor in reversed(list(enumerate(floors))):
            units = [unit for unit in floor.split() if not unit.startswith("__")]
            lines += [f"  {number}  {unit:14}{_purpose(house.files[f'{package}.{unit}'])}" for unit in units]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _purpose(path: Path) -> str:
    """Return the first sentence of a module."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n\n")[0].split())
    return textwrap.shorten(text.split(". ")[0].split(": `python")[0].rstrip("."), 100, placeholder=" ...")


def _imports(module: str, path: Path, files: dict[str, Path]) -> Iterator[Import]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(module, path, node)
            for name in dict.fromkeys(f"{source}.{alias.name}" for alias in node.names):
                yield Import(module, name if name in files else source, node.lineno)


def _absolute(module: str, path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + (path.name == "__init__.py")]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _closure(pairs: set[tuple[str, str]]) -> dict[str, set[str]]:
    """Return the units reachable from each unit in one or more steps."""
    steps: dict[str, set[str]] = {}
    for a, b in pairs:
        steps.setdefault(a, set()).add(b)
        steps.setdefault(b, set())
    reached = {}
    for start in steps:
        seen: set[str] = set()
        waiting = list(steps[start])
        while waiting:
            if (at := waiting.pop()) not in seen:
                seen.add(at)
                waiting += steps[at]
        reached[start] = seen
    return reached


@click.command()
@click.option("--picture", "draw", is_flag=True, help="Print the picture of CONTRIBUTING.md instead.")
def command(draw: bool) -> int:
    """Count entries, modules, lines and arrows of each package."""
    house = read_house()
    if draw:
        click.echo(picture(house))
        return 0
    click.echo(f"{'package':13}{'entries':>8}{'modules':>9}{'lines':>8}{'arrows':>8}{'upwards':>9}{'circles':>9}")
    lengths = {module: len(path.read_text("utf-8").splitlines()) for module, path in house.files.items()}
    for package in ORDER:
        own = [module for module in lengths if module.split(".")[0] == package]
        figures = (len(entries(package)), len(own), sum(lengths[module] for module in own), len(house.arrows(package)))
        click.echo(
            f"{package:13}{figures[0]:8}{figures[1]:9}{figures[2]:8}{figures[3]:8}"
            f"{len(house.arrows_up(package)):9}{len(house.circles(package)):9}"
        )
    for module, length in lengths.items():
        if length > LONGEST_LINES:
            click.echo(f"{module} has {length} lines, more than {LONGEST_LINES}")
    return 0


if __name__ == "__main__":
    run_command(command)
