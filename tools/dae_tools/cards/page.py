"""The card of a model as Markdown: training, quality, speed and limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dae_export.product import tool_versions
from dae_runtime.contract import Contract
from dae_runtime.models import bundled_models
from dae_runtime.system.processor import cpu_features, cpu_name

from ..export_bench.comparison import FFDNET, FFDNET_INT8, NLM, Comparison
from ..export_bench.peers import NLM_H
from .published import PUBLISHED
from .run import CardText, Training
from .scores import DigitScores, GaussianScores, PairScores, Scores


@dataclass(frozen=True)
class Card:
    """The content of a card."""

    name: str
    """Name of the model, for `dae-run -m`."""
    text: CardText
    training: Training
    contract: Contract
    size_bytes: int
    """Of the model file."""
    sha256: str
    """Likewise."""
    scores: Scores
    comparison: Comparison
    """Includes the model by name."""
    picture: str
    """Name of the picture beside the card."""
    caption: str
    command: str
    """The command that wrote the card."""


def page(card: Card) -> str:
    """Return the card as Markdown."""
    parts = (_head, _facts, _quality, _speed, _training, _limits, _again)
    return "\n".join(line for part in parts for line in part(card)).rstrip() + "\n"


def _head(card: Card) -> Iterator[str]:
    yield f"# {card.name}"
    yield ""
    yield card.text.purpose
    yield ""
    yield f"![{card.caption}]({card.picture})"
    yield ""
    yield f"{card.caption}."
    yield ""
    yield f"    dae-run -m {card.name} IN OUT"
    yield ""
    yield f"Written by `{card.command}`: do not edit."
    yield "Every figure is measured by it, or read from the run and the model file; those of others say so."
    yield ""


def _aligned(contract: Contract) -> str:
    inside = "padded inside the file to" if contract.any_size else "in"
    return f"{inside} multiples of {contract.alignment_px}"


def _facts(card: Card) -> Iterator[str]:
    contract = card.contract
    macs = contract.report.get("macs_per_pixel", {})
    size = "any" if contract.fixed_size is None else "{} x {} pixels".format(*contract.fixed_size)
    rows = {
        "network": f"`{contract.preset}`, {card.training.parameters:,} parameters",
        "file": f"{card.size_bytes / 1024:.0f} KiB, {contract.precision}, pixels in and out {contract.io_dtype}",
        "arithmetic": f"{macs.get('network', 0):,.0f} MAC per pixel ({macs.get('computed', 0):,.0f} computed in this form)",
        "images": f"{'gray' if contract.channels == 1 else 'RGB'}; size {size}, {_aligned(contract)}",
        "halo": "every pixel" if contract.halo_px is None else f"{contract.halo_px} pixels: what one output pixel depends on",
        "noise trained on": "that of the pairs" if contract.noise == "none" else f"`{contract.noise}`",
        "license of the weights": card.text.licence,
        "SHA-256": f"`{card.sha256}`",
    }
    yield "| | |"
    yield "|---|---|"
    for name, value in rows.items():
        yield f"| {name} | {value} |"
    yield ""
    yield from _int8(contract)


def _int8(contract: Contract) -> Iterator[str]:
    if contract.calibration is None:
        return
    lost, share = contract.report.get("psnr_drop_db"), contract.report.get("integer_share")
    if lost is not None and share is not None:
        yield (
            f"Against the float32 network, INT8 costs {lost:.3f} dB of PSNR on held-out samples of its training data; "
            f"{share:.1%} of the arithmetic is in integers. Calibrated with {contract.calibration.samples} samples "
            f"({contract.calibration.method})."
        )
        yield ""


# --- quality -------------------------------------------------------------------------------------------------------------


def _quality(card: Card) -> Iterator[str]:
    yield "## Quality"
    yield ""
    yield f"Measured with this file on {card.text.test_data}"
    yield ""
    if isinstance(card.scores, GaussianScores):
        yield from _gaussian(card.scores, card.text.published)
    elif isinstance(card.scores, PairScores):
        yield from _pairs(card.scores)
    else:
        yield from _digits(card.scores, card.training)
    yield ""


def _gaussian(scores: GaussianScores, published: str | None) -> Iterator[str]:
    images = len(scores.by_sigma[0].images)
    yield f"Mean PSNR in dB of {images} images. White Gaussian noise, sigma on the scale 0..255, is added to floats and not"
    yield f"clipped (seed {scores.seed}); the output is rounded to 8 bits: `python -m dae_tools.gaussian`. Sigma 0 is what"
    yield "the model makes of the clean images."
    yield ""
    sigmas = [score.sigma for score in scores.by_sigma]
    yield f"| | {' | '.join(f'sigma {sigma:g}' for sigma in sigmas)} | parameters | MAC per pixel |"
    yield "|---|" + "---|" * (len(sigmas) + 2)
    yield f"| noisy | {' | '.join(_db(score.noisy_psnr_db) for score in scores.by_sigma)} | | |"
    rows = (
        {"this file": scores.by_sigma} if not scores.told else {"told the level": scores.told, "it measured": scores.by_sigma}
    )
    for name, found in rows.items():
        yield f"| **{name}** | {' | '.join(f'**{_db(score.psnr_db)}**' for score in found)} | see above | see above |"
    if scores.non_local_means_db is not None:
        figures = {NLM_H: f"{scores.non_local_means_db:.2f}"}
        yield f"| {NLM}, h {NLM_H:g}, 8-bit input | {' | '.join(figures.get(sigma, '-') for sigma in sigmas)} | - | - |"
    for other in PUBLISHED.get(published or "", ()):
        figures = {sigma: f"{psnr:.2f}" for sigma, psnr in other.psnr_db.items()}
        cells = " | ".join(figures.get(sigma, "-") for sigma in sigmas)
        yield f"| {other.name} (as published) | {cells} | {other.parameters} | {other.macs_per_pixel} |"
    if published:
        yield ""
        yield f"As published: figures of the authors on {published}, not measured here; sources in"
        yield "`dae_tools/cards/published.py`."


def _db(value: float) -> str:
    return "-" if value == float("inf") else f"{value:.2f}"


def _pairs(scores: PairScores) -> Iterator[str]:
    yield f"{scores.pairs} pairs, as dae-run writes them with 8 bits. RMSE over all pixels of all images, 1 being white; PSNR"
    yield "is the mean over the images."
    yield ""
    yield "| | RMSE | PSNR, dB |"
    yield "|---|---|---|"
    yield f"| noisy | {scores.noisy_rmse:.4f} | {scores.noisy_psnr_db:.2f} |"
    yield f"| **this file** | **{scores.rmse:.4f}** | **{scores.psnr_db:.2f}** |"


def _digits(scores: DigitScores, training: Training) -> Iterator[str]:
    clipped = "clipped to [0, 1]" if scores.clipped else "not clipped"
    yield f"{scores.images:,} images with Gaussian noise of standard deviation {scores.sigma:g}, white being 1, {clipped}."
    yield "Means over all pixels of all images; PSNR is that of the mean squared error."
    yield ""
    yield "| | BCE | MSE | PSNR, dB |"
    yield "|---|---|---|---|"
    yield f"| noisy | - | {scores.noisy_mse:.4f} | {scores.noisy_psnr_db:.2f} |"
    yield f"| **this file** | **{scores.bce:.4f}** | **{scores.mse:.4f}** | **{scores.psnr_db:.2f}** |"
    if training.test:
        test = training.test
        yield f"| the Keras model, noise drawn anew | {test['bce']:.4f} | {test['mse']:.4f} | {test['psnr_db']:.2f} |"


# --- speed and training ----------------------------------------------------------------------------------------------------


def _speed(card: Card) -> Iterator[str]:
    comparison = card.comparison
    _, height, width, channels = comparison.shape
    color = "gray" if channels == 1 else "RGB"
    features = ", ".join(cpu_features()) or "features unknown"
    yield "## Speed"
    yield ""
    yield f"One {height} x {width} image, {color}, {comparison.threads} threads, onnxruntime {_engine_version()}, {cpu_name()}"
    yield f"({features}). All take turns in one run; ratios of the medians are what to trust."
    yield ""
    yield f"| | median, ms | of {FFDNET} | of {FFDNET_INT8} | of {NLM} |"
    yield "|---|---|---|---|---|"
    for name, one in comparison.denoisers.items():
        ratios = [comparison.ratio(name, peer) for peer in (FFDNET, FFDNET_INT8, NLM)]
        cells = " | ".join("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
        yield f"| {f'**{name}**' if name == card.name else name} | {one.latency.median_ms:.1f} | {cells} |"
    yield ""


def _engine_version() -> str:
    versions = tool_versions()
    return versions.get("onnxruntime") or versions.get("onnxruntime-gpu", "")


def _training(card: Card) -> Iterator[str]:
    training = card.training
    yield "## Training"
    yield ""
    yield f"- Data: {card.text.data}"
    yield f"- Terms of the data: {card.text.terms}"
    yield ""
    stages = _stages(training)
    for number, stage in enumerate(stages, 1):
        if len(stages) > 1:
            yield f"### Stage {number} of {len(stages)}"
            yield ""
        yield from _stage(stage)


def _stages(training: Training) -> list[Training]:
    return [*(_stages(training.before) if training.before else ()), training]


def _stage(training: Training) -> Iterator[str]:
    if training.start in bundled_models():
        yield f"- Began with the network of `{training.start}`: [its training]({training.start}.md#training)."
    yield (
        f"- Budget: {training.steps:,} steps of {training.batch_size} images or crops in {training.epochs} epochs, "
        f"{_duration(training.seconds)} on {training.device}."
    )
    yield f"- Was it enough? {_late(training)}"
    yield f"- Command: `{training.command}`"
    yield ""
    yield "Every setting, the digest of the images and the versions of the packages, as the run's `run.toml` has them (a file"
    yield "that `dae-train --config` takes; paths are shortened):"
    yield ""
    yield "```toml"
    yield training.settings
    yield "```"
    yield ""


def _late(training: Training) -> str:
    late = training.late
    if late is None:
        return "The history does not tell."
    share = (late.to_step - late.from_step) / late.to_step
    steps = f"Steps {late.from_step:,} to {late.to_step:,}, the last {share:.0%},"
    return f"{steps} brought {late.gain:+.3f} {late.unit} in validation."


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def _limits(card: Card) -> Iterator[str]:
    yield "## Limits"
    yield ""
    for limit in card.text.limits or ("None are known beyond those of its training data.",):
        yield f"- {limit}"
    yield ""


def _again(card: Card) -> Iterator[str]:
    yield "## Make it again"
    yield ""
    yield f"    {card.text.repeat}"
    yield ""
    yield "trains with the recipe in `train/dae_train/recipes`, exports, measures, and writes model file and card."
