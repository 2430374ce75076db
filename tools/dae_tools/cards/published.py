"""Published figures for comparison: PSNR in dB by the protocol of `dae_tools.gaussian`.

Sources:
    BM3D, DnCNN: Zhang, Zuo, Chen, Meng, Zhang: Beyond a Gaussian denoiser: residual learning of deep CNN for image denoising.
    IEEE Transactions on Image Processing 26(7), 2017.
    FFDNet: Zhang, Zuo, Zhang: FFDNet: toward a fast and flexible solution for CNN-based image denoising. IEEE Transactions on
    Image Processing 27(9), 2018.
    DRUNet: Zhang, Li, Zuo, Zhang, Van Gool, Timofte: Plug-and-play image restoration with deep denoiser prior. IEEE
    Transactions on Pattern Analysis and Machine Intelligence 44(10), 2022.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One denoiser on one set of test images."""

    name: str
    psnr_db: dict[float, float]
    """By sigma on the scale 0..255."""
    parameters: str = "-"
    macs_per_pixel: str = "-"


PUBLISHED = {
    "Set12": (
        Published("BM3D", {15: 32.37, 25: 29.97, 50: 26.72}),
        Published("DnCNN-S, one network for each sigma", {15: 32.86, 25: 30.44, 50: 27.18}, "556,000", "555,000"),
        Published("DnCNN-B, blind", {15: 32.68, 25: 30.36, 50: 27.21}, "668,000", "665,000"),
        Published("FFDNet, told the sigma", {15: 32.75, 25: 30.43, 50: 27.32}, "485,000", "121,000"),
        Published("DRUNet, told the sigma", {15: 33.25, 25: 30.94, 50: 27.90}, "32,600,000"),
    )
}
"""By the name of the test images."""
