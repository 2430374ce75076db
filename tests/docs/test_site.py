"""The documentation as a site: it builds without a dead link, has every page, and asks no other server for anything."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dae_tools import site

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


class Loads(HTMLParser):
    """Collects what a page loads by itself: pictures, scripts, styles."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fields = dict(attrs)
        if tag in ("img", "script", "iframe") and fields.get("src"):
            self.addresses.append(str(fields["src"]))
        if tag == "link" and fields.get("rel") in ("stylesheet", "icon", "preload") and fields.get("href"):
            self.addresses.append(str(fields["href"]))


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    built = subprocess.run(
        [sys.executable, "-m", "dae_tools.site", "-o", str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "html"


def test_every_page_is_in_the_menu(html):
    config = (ROOT / "docs" / "zensical.toml").read_text()
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= set(re.findall(r'= "([\w/.-]+\.md)"', config))


def test_what_a_page_loads_is_there(html):
    pages = list(html.rglob("*.html"))
    assert len(pages) > 40
    loaded = 0
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text("utf-8"))
        for address in loads.addresses:
            plain = address.partition("?")[0].partition("#")[0]
            assert not re.match(r"[a-z]+:|//", plain) or plain.startswith("data:"), f"{page}: {address}"
            target = html / plain.lstrip("/") if plain.startswith("/") else page.parent / plain
            assert target.exists(), f"{page}: {address}"
            loaded += 1
    assert loaded > 100


def test_the_code_is_in_it(html):
    commands = (html / "reference" / "commands" / "index.html").read_text("utf-8")
    assert all(f"Usage: {name}" in commands for name in site.COMMANDS)
    for package, name in (("dae_runtime", "max_memory_mb"), ("dae_train", "RunConfig"), ("dae_export", "GateError")):
        assert name in (html / "reference" / package / "index.html").read_text("utf-8")
    assert "class Room" in re.sub("<[^>]+>", "", (html / "examples" / "service-py" / "index.html").read_text("utf-8"))


@pytest.mark.parametrize("fault", ["[gone](nowhere.md)", "[gone](photographs.md#nothing)"])
def test_a_dead_link_fails_the_build(tmp_path, monkeypatch, fault):
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("node_modules"))
    for name in site.TEXTS:
        shutil.copy(ROOT / name, tmp_path)
    page = tmp_path / "docs" / "training.md"
    page.write_text(page.read_text() + f"\n{fault}\n")
    monkeypatch.setattr(site, "ROOT", tmp_path)
    assert site.build(tmp_path / "site") != 0
