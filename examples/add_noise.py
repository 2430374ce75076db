"""Make the noisy examples: white Gaussian noise on every clean image, rounded and clipped to 8 bits.

python examples/add_noise.py examples/clean examples/noisy --sigma 40
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from dae_runtime import DaeError
from dae_runtime.images import find_images, read_image, write_image


def main() -> None:
    """Read every image of one folder and write it with noise to another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path)
    parser.add_argument("noisy", type=Path)
    parser.add_argument("--sigma", type=float, default=40, help="standard deviation on the scale 0..255")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.noisy.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(find_images(options.clean)):
        image = read_image(path)
        noise = np.random.default_rng([options.seed, number]).normal(0, options.sigma, image.pixels.shape)
        pixels = np.clip(np.rint(image.pixels + noise), 0, 255).astype(np.uint8)
        write_image(options.noisy / f"{path.stem}.png", image.with_pixels(pixels))


if __name__ == "__main__":
    try:
        main()
    except (DaeError, OSError) as error:  # a wrong path, say
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
