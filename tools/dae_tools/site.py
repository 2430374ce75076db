"""Build the documentation into a folder of HTML; `make docs` calls it.

The pages are those of docs/, and what is made of the code: the help of the commands, the public names of the packages with
their docstrings, and the example programs. A link to a page or an anchor that does not exist fails the build.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click

ROOT = Path(__file__).parents[2]
TEXTS = ("CHANGELOG.md", "CONTRIBUTING.md")
LANGUAGES = {".py": "python", ".js": "javascript", ".html": "html", ".sh": "bash", ".sbatch": "bash", ".yaml": "yaml"}
COMMANDS = ("dae-train", "dae-export", "dae-run")
PACKAGES = {
    "dae_runtime": "Open a model, denoise arrays, files and folders. Needs neither TensorFlow nor Keras.",
    "dae_train": "Train a network.",
    "dae_export": "Export a Keras model to ONNX.",
}
WIDTH = 80
"""Columns of the commands' help: as many as a page shows beside its menus."""
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")


def build(folder: Path) -> int:
    """Write the pages to `folder`/pages and the site to `folder`/html; return the exit code of the generator."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder / "pages"
    shutil.copytree(ROOT / "docs", pages)
    shutil.copy(ROOT / "docs" / "zensical.toml", folder)
    for name in TEXTS:
        shutil.copy(ROOT / name, pages)
    (pages / "reference" / "commands.md").write_text(commands_page(), "utf-8")
    for name, words in PACKAGES.items():
        (pages / "reference" / f"{name}.md").write_text(f"# `{name}`\n\n{words}\n\n::: {name}\n", "utf-8")
    (pages / "examples").mkdir()
    for path in example_files():
        (pages / "examples" / f"{_page_name(path)}.md").write_text(_listing(path), "utf-8")
    (pages / "examples" / "index.md").write_text((ROOT / "examples" / "README.md").read_text("utf-8"), "utf-8")
    made = _pages_made()
    for page in pages.rglob("*.md"):
        page.write_text(_relinked(page.read_text("utf-8"), page, pages, made), "utf-8")
    # The generator is a command of its own: it draws in parallel, and ends its process where something is wrong.
    line = [str(Path(sys.executable).with_name("zensical")), "build", "--strict", "--clean"]
    return subprocess.run([*line, "-f", str(folder / "zensical.toml")], check=False).returncode


def commands_page() -> str:
    """Return the help of the three commands as a page."""
    parts = ["# Commands\n\nWhat `--help` prints.\n"]
    for name in COMMANDS:
        line = [str(Path(sys.executable).with_name(name)), "--help"]
        text = subprocess.run(
            line, env={**os.environ, "COLUMNS": str(WIDTH)}, capture_output=True, text=True, check=True
        ).stdout
        parts.append(f"## {name}\n\n```text\n{text}```\n")
    return "\n".join(parts)


def example_files() -> list[Path]:
    """Return the example programs."""
    return sorted(path for path in (ROOT / "examples").rglob("*") if path.suffix in LANGUAGES and path.is_file())


def _page_name(path: Path) -> str:
    return "-".join(path.relative_to(ROOT / "examples").parts).replace(".", "-")


def _listing(path: Path) -> str:
    language = LANGUAGES[path.suffix]
    return f"# examples/{path.relative_to(ROOT / 'examples').as_posix()}\n\n````{language}\n{path.read_text('utf-8')}````\n"


def _pages_made() -> dict[str, str]:
    """Return the pages that are made of files outside docs/, by the path of the file or folder."""
    return {
        **{path.relative_to(ROOT).as_posix(): f"examples/{_page_name(path)}.md" for path in example_files()},
        **{name: name for name in TEXTS},
        "examples/README.md": "examples/index.md",
        "examples/browser": "examples/browser-index-html.md",
        "examples/inference_server": "examples/inference_server-app-py.md",
        "README.md": "index.md",
        "docs": "index.md",
    }


def _relinked(text: str, page: Path, pages: Path, made: Mapping[str, str]) -> str:
    """Point links to files outside docs/ to the pages that are made of them here."""
    up = "../" * (len(page.relative_to(pages).parts) - 1)

    def point(match: re.Match[str]) -> str:
        opening, address, rest = match.groups()
        plain = re.sub(r"^(\.\./)+", "", address).rstrip("/")
        if plain in made and not (page.parent / address).exists():
            address = up + made[plain]
        elif plain.startswith("docs/"):
            address = up + plain.removeprefix("docs/")
        return opening + address + rest

    return _LINK.sub(point, text)


@click.command()
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), default=Path(".site"), help="Folder to write.")
def main(folder: Path) -> None:
    """Build the documentation."""
    sys.exit(build(folder.absolute()))


if __name__ == "__main__":
    main()
