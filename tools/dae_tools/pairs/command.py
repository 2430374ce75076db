"""The command `python -m dae_tools.pairs`."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import click

from dae_runtime.inference import Denoiser
from dae_runtime.pixels.scores import mean_scores

from .contest import compare, table
from .levels import measured_and_true, print_synthetic, scatter
from .methods import METHODS, check_installed, set_threads
from .scores import Pair, Sweep, level_of_all, read_pairs, score_pairs, sweep_levels

_SIGMA = click.FloatRange(0, 255)
_Context = click.Context
_Option = click.Parameter


def _names(context: _Context, option: _Option, value: str | None) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(value.split(","))) if value else ()
    if unknown := [name for name in names if name not in METHODS]:
        raise click.BadParameter(f"expected some of {', '.join(METHODS)}; received {', '.join(map(repr, unknown))}.")
    return names


def _sigmas(context: _Context, option: _Option, value: str | None) -> tuple[float, ...]:
    words = dict.fromkeys(value.split(",")) if value else ()
    return tuple(_SIGMA(word, option, context) / 255 for word in words)


def _folder(help_text: str, **options: Any) -> dict[str, Any]:
    return {"type": click.Path(exists=True, file_okay=False, path_type=Path), "help": help_text, **options}


@click.command()
@click.option("--noisy", **_folder("Folder of noisy images."))
@click.option("--clean", **_folder("Of clean ones.", required=True))
@click.option("-m", "--model", help="An .onnx file from dae-export, or the name of a bundled model.")
@click.option("--sigma", type=_SIGMA, help="Noise level on the scale of 0 to 255.  [default: measured]")
@click.option("--shared", is_flag=True, help="Tell the model one level for all, as dae-run --measure gives it.")
@click.option("--sigmas", callback=_sigmas, metavar="2,4,...", help="Tell the model each of these levels; print the best.")
@click.option(
    "--against",
    callback=_names,
    metavar="nlm,bm3d,wavelet",
    help="Compare with other denoisers, by their defaults or what they estimate, and by the best single setting. Times are "
    "ratios to the model's. Needs: pip install opencv-python-headless bm3d scikit-image (bm3d: not for commercial use).",
)
@click.option("--crop", type=click.IntRange(min=16), metavar="PIXELS", help="Use only a square in the middle of each image.")
@click.option(
    "--ensemble",
    type=click.Choice(["1", "2", "4", "8"]),
    default="1",
    callback=lambda _context, _option, value: int(value),
    help="Average the model over so many flips and turns of each image.  [default: 1]",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of the model and of NLM.  [default: all]")
@click.option("--levels", is_flag=True, help="Compare the measured noise level with the true one; no model is needed.")
def command(
    noisy: Path | None,
    clean: Path,
    model: str | None,
    sigma: float | None,
    shared: bool,
    sigmas: tuple[float, ...],
    against: tuple[str, ...],
    crop: int | None,
    ensemble: int,
    threads: int | None,
    levels: bool,
) -> int:
    """Judge a model, or the measured noise level, on pairs of noisy and clean images."""
    if levels and noisy is None:
        print_synthetic(clean)
    elif noisy is None or (model is None and not levels):
        raise click.UsageError("give --noisy and -m MODEL, or --levels.")
    elif shared and sigma is not None:
        raise click.UsageError("give --sigma or --shared.")
    elif levels:
        click.echo(f"{'pairs':11}{scatter([measured_and_true(*pair) for _, *pair in read_pairs(noisy, clean, crop)])}")
    elif model is not None:
        check_installed(against)
        level = None if sigma is None else sigma / 255
        with Denoiser(model, threads=threads) as denoiser:
            if shared:
                level = level_of_all(denoiser, noisy, clean, crop)
            if against:
                set_threads(against, denoiser.threads)
                click.echo("\n".join(table(compare(denoiser, against, read_pairs(noisy, clean, crop), level, ensemble))))
            elif not sigmas:
                _print_scores(score_pairs(denoiser, noisy, clean, level, crop, ensemble))
            if sigmas:
                _print_sweep(sweep_levels(denoiser, noisy, clean, sigmas, crop, ensemble))
    return 0


def _print_scores(pairs: list[Pair]) -> None:
    for pair in pairs:
        scores, level = pair.scores, "" if pair.level is None else f"   level {255 * pair.level:.1f} of 255"
        click.echo(
            f"{scores.noisy_psnr_db:6.2f} -> {scores.denoised_psnr_db:6.2f} dB ({pair.gain_db:+.2f}){level}   {pair.name}"
        )
    mean, worst = mean_scores([pair.scores for pair in pairs]), min(pairs, key=lambda pair: pair.gain_db)
    levels = [pair.level for pair in pairs if pair.level is not None]
    click.echo(
        f"mean of {len(pairs)}: PSNR {mean.noisy_psnr_db:.2f} -> {mean.denoised_psnr_db:.2f} dB, "
        f"SSIM {mean.noisy_ssim:.4f} -> {mean.denoised_ssim:.4f}"
        + (f", level {255 * fmean(levels):.1f} of 255" if levels else "")
    )
    click.echo(f"worst: {worst.name}, {worst.gain_db:+.2f} dB")


def _print_sweep(sweep: Sweep) -> None:
    for sigma, mean_db in zip(sweep.sigmas, sweep.means_db, strict=True):
        click.echo(f"level {255 * sigma:5.1f} of 255: {mean_db:6.2f} dB")
    click.echo(f"best single level: {255 * sweep.best_sigma:.1f} of 255, {max(sweep.means_db):.2f} dB")
    click.echo(f"best level for each image: {sweep.best_each_db:.2f} dB")
