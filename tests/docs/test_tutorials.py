"""The tutorials: every command and program in them runs as it stands there, one after the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
MADE = {
    "first-denoiser": [
        "first",
        "runs/first/samples.png",
        "first.onnx",
        "first-int8.onnx",
        "first.html",
        "first-own",
        "own.html",
    ],
    "your-camera": ["photos-clean", "photos.html", "photos-more", "photos-less", "photos-color", "photos-detail"],
    "your-scans": ["pages/5.png", "cleaned", "scans.onnx", "cleaned-own"],
    "ship-int8": ["device.onnx", "from-device/cat.png"],
    "darktable": ["denoise-photo-8.dtmodel"],
    "service": ["served.png", "served-more.png"],
}
"""What a reader has afterwards, among other things."""
BETTER = {"first-denoiser": 2, "your-scans": 2}
"""How many runs of a tutorial print PSNR before and after: it must rise."""


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(tutorial, tmp_path):
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```$", tutorial.read_text("utf-8"), re.S | re.M)
    assert blocks
    lines = ["set -euxo pipefail"]
    for kind, text in blocks:
        lines.append(text if kind == "sh" else f"python - <<'END_OF_PROGRAM'\n{text}END_OF_PROGRAM")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "MPLBACKEND": "agg"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in MADE[tutorial.stem]:
        assert (tmp_path / name).exists(), name
    scores = [(float(before), float(after)) for before, after in re.findall(r"PSNR ([\d.]+) -> ([\d.]+) dB", done.stdout)]
    assert len(scores) >= BETTER.get(tutorial.stem, 0)
    assert all(after > before + 2 for before, after in scores), scores


def test_every_tutorial_is_known():
    assert {path.stem for path in TUTORIALS} == set(MADE)
