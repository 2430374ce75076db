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
    one_image: bool = False
    """Whether the program hands over one image at a time only."""


DEMANDS = {
    "darktable": Demands(".dtmodel", color=True, sigma="map", one_image=True),
    "ffmpeg": Demands(sigma=None, one_image=True),
    "vapoursynth": Demands(sigma="plane", one_image=True),
    "openvino": Demands(),
    "triton": Demands(""),
    "plain": Demands(),
}
assert tuple(DEMANDS) == PROGRAMS
