"""Messages that cannot be written stop nothing; names and model texts cannot write to the terminal or into a page."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from builders import make_model, random_pixels
from dae_runtime.images import Image, write_image
from dae_runtime.system.messages import LONGEST_TEXT, html_text, printable

pytestmark = pytest.mark.slow
ENDS = ("", ">&-", "2>&-", ">/dev/full", "2>/dev/full", ">&- 2>&-", ">/dev/full 2>/dev/full", "| true", "2>&1 | true", "<&-")


def shell(line: str, **options) -> subprocess.CompletedProcess[str]:
    command = f"set -o pipefail; {sys.executable} -m dae_runtime {line}"
    return subprocess.run(["bash", "-c", command], capture_output=True, errors="replace", timeout=120, check=False, **options)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("damaged", [False, True])
def test_the_work_goes_on(tmp_path, images, blur_file, end, damaged):
    if damaged:
        (images / "1.png").write_text("text")
    done = shell(f"-m {blur_file} {images} out {end}", cwd=tmp_path)
    summary_lost = end.startswith((">", "|", "2>&1 |")) or end == ">&- 2>&-"
    expected = {3} if damaged else {0, 1} if "|" in end else {1} if summary_lost else {0}  # a pipe may live long enough
    assert done.returncode in expected, done.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) == 3 - damaged
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert sum(line.startswith("error: standard output") for line in done.stderr.splitlines()) <= 1


@pytest.mark.parametrize("end", ENDS[1:4])
@pytest.mark.parametrize(
    "what", ["--help", "--version", "--list-models", "--doctor", "--dry-run in out", "in/0.png -", "--nonsense"]
)
def test_every_action_ends_in_one_line(tmp_path, images, blur_file, end, what):
    assert images == tmp_path / "in"
    done = shell(f"-m {blur_file} {what} {end}", cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if what == "--nonsense":
        assert done.returncode == 2
    elif end.startswith(">"):
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("error: standard output cannot be written: ")


@pytest.mark.parametrize("end", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_place_of_a_closed_stream(tmp_path, images, blur_file, end):
    """What C code prints would end up in it."""
    shell(f"-m {blur_file} {images} {tmp_path / 'a'} --manifest a.jsonl", cwd=tmp_path)
    shell(f"-v -m {blur_file} {images} {tmp_path / 'b'} --manifest b.jsonl {end}", cwd=tmp_path)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert all(line.startswith('{"path": ') for line in (tmp_path / "b.jsonl").read_text().splitlines())


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec=None, categories=["Cc", "Cf", "Zl", "Zp", "L", "Cs", "So"])))
@example("\x1b]0;title\x07\x9b31m\u202e\r\n")
def test_printable_text(text):
    shown = printable(text)
    assert all(ord(character) >= 32 and not 127 <= ord(character) < 160 for character in shown)
    assert not set(shown) & set("\u2028\u2029\u202a\u202e\u2066\u200e\ufeff")
    assert len(shown) <= LONGEST_TEXT
    assert "\x1b" not in html_text(text)
    assert "<" not in html_text(f"<{text}>")
    assert printable("one\n  two", lines=True) == "one\n  two"
    assert len(printable("x" * 10**6)) <= LONGEST_TEXT


NASTY = "a\x1b]0;x\x07\x1b[31m\n\u202eb<script>.png"


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40).map(
        lambda text: f"x{text}.png"
    ),
    good=st.booleans(),
)
@example(name=NASTY, good=True)
@example(name=NASTY, good=False)
@example(name="\r" * 60 + ".png", good=True)
def test_names_reach_neither_terminal_nor_page(tmp_path_factory, name, good):
    folder = tmp_path_factory.mktemp("names")
    (folder / "in").mkdir()
    name = os.fsdecode(name.encode()[:200]) if len(name.encode()) <= 200 else f"{name[:40]}.png"
    path = folder / "in" / name
    if good:
        write_image(folder / "a.png", Image(random_pixels((9, 8))))
        (folder / "a.png").rename(path)
    else:
        path.write_text("text")
    (folder / "m.onnx").write_bytes(make_model(name="m\x1b[2J\n\x9b" + "y" * 5000, preset="p\x1b[2J", noise="gaussian:0.1"))
    command = [
        sys.executable,
        "-m",
        "dae_runtime",
        "-v",
        "-m",
        "m.onnx",
        "in",
        "out",
        "--report",
        "r.html",
        "--reference",
        "in",
    ]
    done = subprocess.run([*command, "--format", "tif"], cwd=folder, capture_output=True, timeout=120, check=False)
    page = (folder / "r.html").read_bytes() if (folder / "r.html").exists() else b""
    assert done.returncode in (0, 1, 3), done.stderr
    for output in (done.stdout, done.stderr, page):
        text = output.decode()
        assert not [
            character for character in text if (ord(character) < 32 and character not in "\n") or character in "\x7f\x9b\u202e"
        ]
        assert "y" * (LONGEST_TEXT + 1) not in text
    assert b"Traceback" not in done.stderr
    assert b"<script>.png" not in page
