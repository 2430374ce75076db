"""Pictures of what `--sigma`, `--luma`, `--color` and `--detail` do: `python -m dae_tools.controls`.

Noise of `camera_noise` is put on a clean photograph. Each picture is a strip of enlarged crops: noisy first, clean last, and
values of one control between. Those of docs/photographs.md are made so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from dae_runtime.images import Image, read_image, write_image
from dae_runtime.inference import Denoiser
from dae_runtime.pixels.arrays import convert
from dae_runtime.system.command import run_command

from .camera_noise import Colors, Rng, add_correlated, add_mosaic, add_white
from .cards.picture import strip

Pixels = npt.NDArray[np.uint8]
NOISES: Mapping[str, Callable[[Rng, Colors, float], Colors]] = {
    "white": add_white,
    "correlated": add_correlated,
    "mosaic": add_mosaic,
}
SHARES = {"luma": (1.0, 0.5, 0.0), "color": (1.0, 0.5, 0.0), "detail": (0.0, 0.5, 1.0)}
"""Values shown of each control, from left to right."""
SIGMA, FACTORS = "sigma", (0.5, 1.0, 2.0)
"""Values shown of the noise level, as parts of the true one."""


def draw(
    denoiser: Denoiser, names: Collection[str], clean: Pixels, noisy: Pixels, place: tuple[int, int], side: int, scale: int
) -> Iterator[tuple[str, list[float], Pixels]]:
    """Yield for each control its name, the values shown, and the strip.

    Args:
        denoiser: An opened model.
        names: `sigma`, for a model that is given the level, and keys of `SHARES`.
        clean: (H, W, 3).
        noisy: Of the same shape.
        place: Top row and left column of the crop.
        side: Of the crop in pixels.
        scale: Each pixel becomes a square of so many.

    Raises:
        InputError: `sigma` is asked for, and the model estimates the noise by itself.
    """
    top, left = place

    def shown(images: list[Pixels]) -> Pixels:
        crops = [image[top : top + side, left : left + side] for image in images]
        return strip([crop.repeat(scale, axis=0).repeat(scale, axis=1) for crop in crops], axis=1)

    def picture(name: str, values: list[float]) -> tuple[str, list[float], Pixels]:
        outputs = [denoiser.denoise(noisy, **{name: value}) for value in values]  # type: ignore[arg-type]
        return name, values, shown([noisy, *outputs, clean])

    if SIGMA in names:
        true = float(np.sqrt(np.mean(np.square(convert(noisy, np.float32) - convert(clean, np.float32)))))
        yield picture(SIGMA, [factor * true for factor in FACTORS])
    for name in SHARES:
        if name in names:
            yield picture(name, list(SHARES[name]))


@click.command()
@click.argument("clean", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-m", "--model", default="color", show_default=True, help="A model file, or a bundled one.")
@click.option("--show", multiple=True, type=click.Choice([SIGMA, *SHARES]), help="Controls, repeatable.  [default: all]")
@click.option("-o", "--output", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder.")
@click.option("--noise", type=click.Choice(list(NOISES)), default="white", show_default=True, help="Noise to add.")
@click.option("--level", type=click.FloatRange(0, 100), default=25, show_default=True, help="Of the noise, of 255.")
@click.option("--at", type=(int, int), default=(0, 0), metavar="ROW COLUMN", show_default=True, help="Corner of the crop.")
@click.option("--side", type=click.IntRange(min=8), default=110, show_default=True, help="Of the crop, in pixels.")
@click.option("--scale", type=click.IntRange(1, 8), default=2, show_default=True, help="Enlargement.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the noise.")
def command(
    clean: Path,
    model: str,
    show: tuple[str, ...],
    output: Path,
    noise: str,
    level: float,
    at: tuple[int, int],
    side: int,
    scale: int,
    seed: int,
) -> int:
    """Write control-NAME.webp for each control into a folder, from the color photograph CLEAN."""
    target = convert(read_image(clean).pixels, np.uint8)
    if target.ndim != 3 or min(target.shape[0] - at[0], target.shape[1] - at[1]) < side or min(at) < 0:
        raise click.UsageError(f"{clean}: expected a color image with {side} pixels from {at} on; received {target.shape}.")
    target = np.ascontiguousarray(target[..., :3])
    noisy = convert(NOISES[noise](np.random.default_rng(seed), convert(target, np.float32), level / 255), np.uint8)
    with Denoiser(model) as denoiser:
        names = show or (*((SIGMA,) if denoiser.model.sigma is not None else ()), *SHARES)
        for name, values, pixels in draw(denoiser, names, target, noisy, at, side, scale):
            path = output / f"control-{name}.webp"
            write_image(path, Image(pixels))
            texts = [f"{255 * value:.0f}" if name == SIGMA else f"{value:g}" for value in values]
            click.echo(f"{path}: noisy, --{name} {', '.join(texts)}, clean; {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    run_command(command)
