"""What the programs demand of a file; docs/hosts.md says where each demand is written, and what was run."""

from __future__ import annotations

from dataclasses import dataclass

from ...options import PROGRAMS


@dataclass(frozen=True)
class Demands:
    """What a program hands over and takes, beside images N x C x H x W in float32, 0 to 1."""

    suffix: str = ".onnx"
    """Of the file; empty for a folder."""
    color: bool = False
    """Whether images always have three channels: a gray network then takes each for itself."""
    sigma: str | None = "value"
    """Form of the noise level, one of `dae_runtime.contract.SIGMA_FORMS`; None where the program gives none."""
    given_sigma: float | None = None
    """The one noise level that the program gives for every image, of 255; None where it may be any."""
    free_size: bool = False
    """Whether the program hands over images of any size, whatever the file says."""
    no_int8: str = ""
    """Why it gets no INT8 files; empty where it does."""


DEMANDS = {
    "darktable": Demands(".dtmodel", color=True, sigma="map", given_sigma=25, free_size=True),
    "ffmpeg": Demands(sigma=None, free_size=True),
    "vapoursynth": Demands(sigma="plane", free_size=True),
    "openvino": Demands(no_int8="OpenVINO 2026.4 crashes on some of them"),
    "triton": Demands(""),
    "plain": Demands(),
}
assert tuple(DEMANDS) == PROGRAMS
