"""Every page of the documentation in headless Chromium: laid out, with its pictures, and without a complaint."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dae_tools import site


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    assert site.build(folder / "site") == 0
    return folder / "site" / "html"


@pytest.fixture(scope="module")
def address(html: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(html))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page(page, keep_screenshot, html, address, width):
    names = sorted(path.parent.relative_to(html).as_posix() for path in html.rglob("index.html"))
    assert len(names) > 40
    for name in names:
        page.open(f"{address}{name}/", width=width, height=1400)
        assert len(page.run("document.querySelector('article').innerText")) > 200, name
        assert page.run("[...document.images].filter(i => i.complete && i.naturalWidth === 0).map(i => i.src)") == [], name
        assert page.run("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} is wider than the screen"
        keep_screenshot(f"site-{width}-{name.replace('/', '-')}")
    assert [request for request in page.requests if not request.startswith((address, "data:"))] == []
