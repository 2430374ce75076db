"""The report of a run in headless Chromium: its sliders by keyboard, mouse and touch, its looks, and what it asks for."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from dae_runtime.images import Image, write_image


@pytest.fixture
def report(tmp_path, model_file):
    """The address of a report of three photographs and a tiny picture."""
    for part in ("in", "ref"):
        (tmp_path / part).mkdir()
    for number, shape in enumerate([(300, 400), (400, 300, 3), (28, 28), (200, 500, 3)]):
        y, x = np.mgrid[: shape[0], : shape[1]]
        clean = 128 + 60 * np.sin(x / 40) + 50 * np.cos(y / 25)
        clean = clean if len(shape) == 2 else np.stack([clean, clean[::-1], 255 - clean], axis=-1)
        noisy = clean + np.random.default_rng(number).normal(0, 10 + 20 * number, shape)
        for part, pixels in (("in", noisy), ("ref", clean)):
            write_image(tmp_path / part / f"{number}.png", Image(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)))
    words = ["in", "out", "-m", model_file, "--reference", "ref", "--report", "report.html"]
    subprocess.run([sys.executable, "-m", "dae_runtime", *map(str, words)], cwd=tmp_path, check=True)
    return (tmp_path / "report.html").as_uri()


def shown(page, number):
    """How much of the picture before denoising a slider lets see, in percent."""
    script = f"getComputedStyle(document.querySelectorAll('.compare')[{number}]).getPropertyValue('--x')"
    return float(page.run(script).rstrip("%"))


def place(page, number, share):
    """A point of a picture, by the share of its width from the left, in the window."""
    box = page.run(
        f"(() => {{ const c = document.querySelectorAll('.compare')[{number}]; c.scrollIntoView({{block: 'center'}});"
        "const b = c.getBoundingClientRect(); return [b.x, b.y, b.width, b.height] })()"
    )
    return box[0] + share * box[2], box[1] + 0.7 * box[3]


def test_sliders_by_keyboard(page, report):
    page.open(report)
    page.press("Tab")
    assert page.run("document.activeElement.type") == "range"
    assert shown(page, 0) == 50
    for key, percent in (("End", 100), ("Home", 0), ("ArrowRight", 1), ("ArrowLeft", 0)):
        page.press(key)
        assert shown(page, 0) == percent
    page.press("Tab")
    page.press("End")
    assert (shown(page, 0), shown(page, 1)) == (0, 100)
    assert "100 percent before" in page.run("document.activeElement.getAttribute('aria-valuetext')")


def test_sliders_by_mouse_and_touch(page, report):
    page.open(report)
    for number in (0, 2):
        for share in (0.2, 0.9):
            x, y = place(page, number, share)
            for kind in ("mousePressed", "mouseReleased"):
                page.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
            assert shown(page, number) == pytest.approx(100 * share, abs=2)
    page.do("Emulation.setTouchEmulationEnabled", enabled=True)
    for share in (0.3, 0.8):
        page.touch(*place(page, 1, share))
        page.wait(
            f"Math.abs(parseFloat(document.querySelectorAll('.compare')[1].style.getPropertyValue('--x')) - {100 * share}) < 3"
        )


@pytest.mark.parametrize(("width", "dark"), [(1300, False), (1300, True), (390, False), (390, True)])
def test_how_it_looks(page, keep_screenshot, report, width, dark):
    page.open(report, width=width, height=1400, dark=dark)
    assert page.run("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window"
    assert page.run("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert [request for request in page.requests if not request.startswith(("file:", "data:"))] == []
    background = page.run("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in background.strip("rgb()").split(",")[:3]) / 3
    assert (brightness < 64) == dark
    keep_screenshot(f"report-{width}-{'dark' if dark else 'light'}")
