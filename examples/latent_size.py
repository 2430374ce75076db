"""What more numbers in the latent vector of v1 buy: train a network for each length, and measure how far the classes overlap.

python examples/latent_size.py mnist --z-dims 2 8 32 128 --epochs 3 --runs runs/latent-size -o docs/latent-size.md

Finished runs are kept, interrupted ones go on. DATA: mnist, fashion_mnist, or an .npz with x_train, y_train, x_test, y_test.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from dae_runtime.contract import RunDirectory, read_description
from dae_runtime.errors import DaeError
from dae_runtime.system.atomic import write_atomic
from dae_runtime.system.processor import cpu_name
from dae_train import PRESETS, DataError, DataSettings, RunError, from_toml, networks
from dae_train.data import sources
from dae_train.data.image_set import to_unit
from dae_train.runs.plots import to_plane
from dae_train.settings.noise import TEST_SEED, VALIDATION_SEED

NEIGHBORS, KNOWN, _DRAWN, _BATCH = 10, 10_000, 1000, 256
_HEAD = "z_dim | parameters | MSE | PSNR, dB | BCE | overlap | relative error | wrong / right | rank correlation"
_READING = f"""
Overlap: share of noisy test images that the {NEIGHBORS} nearest latent vectors of {KNOWN:,} noisy training images vote into a
wrong class. Relative error: MSE divided by that of the mean of all images, so that thin digits have no advantage and a network
blind to its input has 1 in each class. Wrong / right: MSE of the images that the vote misses divided by that of the others of
their class, geometric mean over classes. Rank correlation (Spearman): of overlap and relative error over the classes; with 10
of them, anything from -0.65 to 0.65 may be chance (5 %, two-sided)."""

Array = npt.NDArray[Any]


class Study(NamedTuple):
    """A run (`run.toml`, and `result.toml` as `result`) on N test images: latents (N, z_dim), all else (N,)."""

    run: dict[str, Any]
    labels: Array
    latents: Array
    wrong: Array
    mse: Array
    relative: Array
    class_relative: Array  # of the mean image of the right class


def read(settings: DataSettings, channels: int | None = None, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """Return training images (N, H, W, C), their labels, test images, and theirs; raise DataError if they are not for v1."""
    data, side = sources.load_dataset(settings, channels, seed), PRESETS["v1"].image_px
    known, test = data.train, data.test
    if test is None or test.labels is None or known.labels is None or known.sizes | test.sizes != {(side, side)}:
        raise DataError(f"{settings.source}: expected labeled training and test images of {side} x {side} pixels.")
    return np.asarray(known.clean)[:KNOWN], known.labels[:KNOWN], np.asarray(test.clean), test.labels


def measure(run: RunDirectory) -> Study:
    """Encode and denoise the test images, with the noise that the run itself was judged by."""
    from dae_train.noise import draw_noisy  # loads Keras, which takes seconds

    config = from_toml(run.description)
    images, labels, test, truth = read(config.data, config.model.channels, config.training.seed)
    network = networks.load_trained(str(run.root), "--runs")
    known, latents = (
        network.get_layer("encoder").predict(draw_noisy(part, config.noise, seed), _BATCH, verbose=0)
        for part, seed in ((images, VALIDATION_SEED), (test, TEST_SEED))
    )
    clean, denoised = to_unit(test), network.get_layer("decoder").predict(latents, _BATCH, verbose=0)
    mse = np.square(denoised - clean).mean((1, 2, 3), np.float64)
    by_mean, blind = (mean_image_mse(clean, x, to_unit(images), y) for x, y in ((truth, labels), (0 * truth, 0 * labels)))
    scale = by_class(blind, truth)[np.unique(truth, return_inverse=True)[1]]
    record = {**read_description(run), "result": tomllib.loads(run.result.read_text("utf-8"))}
    return Study(record, truth, latents, wrong_votes(latents, truth, known, labels), mse, mse / scale, by_mean / scale)


def wrong_votes(points: Array, labels: Array, known: Array, known_labels: Array) -> Array:
    """Return for points (N, z) whether their neighbors in `known` (M, z) vote for another class; the nearer decide a tie."""
    classes, codes = np.unique(known_labels, return_inverse=True)
    center: Array = known.mean(0, np.float64)  # near the origin, little is lost in the differences of squares
    points, known, count = points - center, known - center, min(NEIGHBORS, len(known))
    votes = np.zeros((len(points), len(classes)))
    for start in range(0, len(points), _BATCH):
        distances = np.square(known).sum(1) - 2 * points[start : start + _BATCH] @ known.T
        nearest = np.argpartition(distances, np.arange(count), axis=1)[:, :count]
        for rank in range(count):
            votes[start + np.arange(len(nearest)), codes[nearest[:, rank]]] += 1 - rank / 1000
    return np.asarray(classes[np.argmax(votes, axis=1)] != labels)


def mean_image_mse(clean: Array, labels: Array, known: Array, known_labels: Array) -> Array:
    """Return (N,), the MSE of answering each image (N, H, W, C) with the mean of the `known` images of its label."""
    classes, codes = np.unique(labels, return_inverse=True)
    means = np.stack([known[known_labels == label].mean(0) for label in classes])
    return np.asarray(np.square(clean - means[codes]).mean((1, 2, 3), np.float64))


def by_class(values: Array, labels: Array) -> Array:
    """Return the mean of values (N,) in each class, in the order of the labels."""
    return np.array([values[labels == label].mean() for label in np.unique(labels)])


def wrong_to_right(wrong: Array, mse: Array, labels: Array) -> float:
    """Return the MSE of wrongly voted images divided by that of the others of their class, geometric mean over classes."""
    groups = [(mse[wrong & (labels == label)], mse[~wrong & (labels == label)]) for label in np.unique(labels)]
    return float(np.exp(np.mean([np.log(a.mean() / b.mean()) for a, b in groups if len(a) and len(b)] or [np.nan])))


def rank_correlation(*pair: Array) -> float:
    """Return Spearman's rank correlation of (N,) values; equal ones share their mean rank."""
    ranks = [(values[:, None] > values).sum(1) + (values[:, None] == values).sum(1) / 2 for values in pair]
    return float(np.asarray(np.corrcoef(*ranks))[0, 1])


def page(studies: Sequence[Study], command: str, picture: str) -> Iterator[str]:
    """Yield the lines of the page."""
    run, labels = studies[0].run, studies[0].labels
    noisy_db = run["result"]["test"]["noisy_psnr_db"]
    steps = "{epochs} epochs of {steps_per_epoch} steps of {batch_size} images".format_map(run["training"])
    seconds = sum(study.run["result"]["seconds"] for study in studies)
    yield from ("# What the length of the latent vector buys", "", f"Written by `{command}`: do not edit.", "")
    yield f"- Data: {run['data']['source']}, {run['noise']['spec']}; {len(labels):,} test images (noisy {noisy_db:.2f} dB)."
    yield f"- Training: {steps} each, {seconds:.0f} s in all on {cpu_name()}, {run['record']['device']}."
    yield from ("", f"![latent vectors]({picture})", "", f"| {_HEAD} |", "|---" * (_HEAD.count("|") + 1) + "|")
    yield from map(_row, studies)
    yield from (_READING, "", "Overlap, MSE and relative error of each class; first the relative error of its mean image:", "")
    yield " | ".join(("| class | its mean", *(f"z_dim {study.run['model']['z_dim']}" for study in studies))) + " |"
    yield "|---" * (len(studies) + 2) + "|"
    means = by_class(studies[0].class_relative, labels)
    columns = [[by_class(part, labels) for part in (study.wrong, study.mse, study.relative)] for study in studies]
    for number, label in enumerate(np.unique(labels)):
        cells = (f"{wrong[number]:.1%}, {mse[number]:.4f}, {relative[number]:.2f}" for wrong, mse, relative in columns)
        yield f"| {label} | {means[number]:.2f} | {' | '.join(cells)} |"
    yield from ("", "The networks, without `--output`:", "", *(f"    {study.run['command']}" for study in studies))


def _row(study: Study) -> str:
    result, test, wrong = study.run["result"], study.run["result"]["test"], study.wrong
    quality = f"{test['mse']:.4f} | {test['psnr_db']:.2f} | {test['bce']:.4f} | {wrong.mean():.1%}"
    ratios = f"{study.relative.mean():.2f} | {wrong_to_right(wrong, study.mse, study.labels):.2f}"
    correlation = rank_correlation(by_class(wrong, study.labels), by_class(study.relative, study.labels))
    return f"| {study.run['model']['z_dim']} | {result['parameters']:,} | {quality} | {ratios} | {correlation:.2f} |"


def draw(path: Path, studies: Sequence[Study]) -> None:
    """Scatter latent vectors by class, in their own plane or that of their principal axes."""
    figure = Figure(figsize=(9, 4 * -(-len(studies) // 2)), layout="constrained")
    classes, codes = np.unique(studies[0].labels, return_inverse=True)
    for number, study in enumerate(studies, 1):
        flat, axes = to_plane(study.latents[:_DRAWN])
        ax = figure.add_subplot(-(-len(studies) // 2), 2, number, xlabel=axes[0], ylabel=axes[1])
        ax.set_title(f"z_dim {study.latents.shape[1]}, overlap {study.wrong.mean():.0%}")
        dots = ax.scatter(flat[:, 0], flat[:, 1], s=4, c=codes[:_DRAWN], cmap="tab10", vmin=0, vmax=max(9, len(classes) - 1))
    figure.legend(dots.legend_elements(num=list(range(classes.size)))[0], classes.tolist(), loc="outside right center")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Train what is missing, measure, and write the page and its picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--z-dims", type=int, nargs="+", default=[2, 8, 32, 128], help="[default: 2 8 32 128]")
    parser.add_argument("--epochs", type=int, default=3, help="[default: 3]")
    parser.add_argument("--train", default="", metavar="FLAGS", help='more flags of dae-train: --train="--loss bce --seed 1"')
    parser.add_argument("--runs", type=Path, default=Path("runs/latent-size"), help="[default: runs/latent-size]")
    parser.add_argument("-o", "--output", type=Path, required=True, help="page in Markdown; its picture: images/ beside it")
    options = parser.parse_args()
    picture = options.output.parent / "images" / f"{options.output.stem}.png"
    runs = {z_dim: RunDirectory(options.runs / f"z-{z_dim}") for z_dim in options.z_dims}
    try:
        read(DataSettings(options.data))  # before anything is trained
        for z_dim, run in runs.items():
            if not run.result.is_file():
                resume = ["--resume"] if run.description.is_file() else []
                words = ["--z-dim", str(z_dim), "--epochs", str(options.epochs), *shlex.split(options.train), *resume]
                dae_train = [sys.executable, "-c", "from dae_train.cli import main; main()"]
                subprocess.run([*dae_train, options.data, "--preset", "v1", *words, "-o", str(run.root)], check=True)
        studies = [measure(run) for run in runs.values()]
        if any(study.run[name] != studies[0].run[name] for study in studies for name in ("data", "noise", "training")):
            raise RunError(f"the runs in {options.runs} differ in more than z_dim; see their run.toml. Choose other --runs.")
        draw(picture, studies)
        lines = page(studies, shlex.join(["python", "examples/latent_size.py", *sys.argv[1:]]), f"images/{picture.name}")
        write_atomic(options.output, "\n".join([*lines, ""]).encode())
    except (DaeError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{options.output} and {picture} are written")


if __name__ == "__main__":
    main()
