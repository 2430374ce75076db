"""Denoise a folder with a pool of threads that share one Denoiser, for programs with work of their own around it.

python examples/thread_pool.py model.onnx noisy/ clean/

Threads decode and encode while others denoise. Two or three threads are enough: the engine uses every CPU for one image. (For
nothing but files, folder.py does this with checks, resuming and bounded memory.)
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dae_runtime import DaeError, Denoiser
from dae_runtime.images import find_images, read_image, write_image


def denoise_file(denoiser: Denoiser, source: Path, destination: Path) -> str:
    """Read, denoise and write one file; return a line about it. Runs in any thread."""
    try:
        image = read_image(source)
        write_image(destination, image.with_pixels(denoiser.denoise(image.page_pixels)))
    except DaeError as error:  # one bad file does not stop the others
        return f"failed: {error}"
    return f"{source} -> {destination}"


def main() -> None:
    """Denoise every image of one folder into another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("source", type=Path)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--workers", type=int, default=3)
    options = parser.parse_args()
    options.destination.mkdir(parents=True, exist_ok=True)
    with Denoiser(options.model) as denoiser, ThreadPoolExecutor(options.workers) as pool:
        sources = find_images(options.source)
        lines = pool.map(lambda path: denoise_file(denoiser, path, options.destination / path.name), sources)
        for line in lines:
            print(line)


if __name__ == "__main__":
    try:
        main()
    except (DaeError, OSError) as error:  # a wrong path, say
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
