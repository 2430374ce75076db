"""Denoise one image file from a program of your own.

python examples/embed.py model.onnx noisy.png clean.png
"""

import sys

from dae_runtime import DaeError, Denoiser
from dae_runtime.images import read_image, write_image


def main(model: str, source: str, destination: str) -> None:
    """Read, denoise, write. A service would keep the Denoiser and use it for every image."""
    with Denoiser(model, device="auto") as denoiser:
        image = read_image(source)
        write_image(destination, image.with_pixels(denoiser.denoise(image.page_pixels)))
        print(f"{source} -> {destination} on {denoiser.device} with {denoiser.model.name}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (DaeError, OSError) as error:  # a wrong path, say
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
