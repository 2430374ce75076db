"""The card of a bundled model: `python -m dae_tools.cards --run RUN --model FILE.onnx --test DIR -o docs/models/NAME.md`.

Everything in a card comes from its words (NAME.toml beside this module), the run directory and the model file, or is measured
when it is written.
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import numpy.typing as npt

from dae_runtime.images import Image, write_image
from dae_runtime.inference import Denoiser
from dae_runtime.system.atomic import write_atomic
from dae_runtime.system.command import require

from .errors import CardError
from .run import DIGITS, GAUSSIAN, PAIRS, CardText, Training, read_card_text, read_training

if TYPE_CHECKING:
    from .page import Card
    from .scores import Scores

PICTURES = Path("examples/clean")
THREADS = 2


@dataclass(frozen=True)
class CardRequest:
    """The inputs of a card."""

    run: Path
    """Run directory of the training."""
    model: Path
    """The exported `.onnx` file."""
    words: Path
    """TOML file with the table `[card]`."""
    test: Path
    """Test images: a folder (clean ones, or noisy ones with `reference`), or the `.npz` file of digits."""
    reference: Path | None = None
    """Folder of clean images of the same relative paths as those of `test`."""
    pictures: Path = PICTURES
    """Folder of clean photographs; one is shown."""
    threads: int = THREADS
    """CPU threads of the timed runs."""
    seed: int = 0
    """Seed of the test noise."""
    rounds: int | None = None
    """Timed runs of each denoiser; None: enough for stable medians."""


def write_card(request: CardRequest, output: Path) -> Card:
    """Measure a model and write its card, and the picture beside it with the same name and `.png`.

    Args:
        request: The inputs of the card.
        output: The Markdown file; replaced if it exists.

    Returns:
        What was written.

    Raises:
        CardError: An input is missing, damaged, or does not fit the protocol.
        DaeError: The model or an image cannot be used.
    """
    text, training = check_request(request, output)
    from ..export_bench.comparison import COMPARISON_ROUNDS, FFDNET, FFDNET_INT8, compare, compared_shape
    from .page import Card, page

    content, name = request.model.read_bytes(), request.model.stem
    with Denoiser(content, "cpu", request.threads) as denoiser:
        scores = _scores(denoiser, text, training, request)
        pixels, caption = _picture(denoiser, text, training, request)
        contract = denoiser.model
    rounds = request.rounds or COMPARISON_ROUNDS
    compared = compare({name: content}, compared_shape(content), request.threads, rounds, (FFDNET, FFDNET_INT8))
    card = Card(
        name=name,
        text=text,
        training=training,
        contract=contract,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        scores=scores,
        comparison=compared,
        picture=output.with_suffix(".png").name,
        caption=caption,
        command=_command(request, output),
    )
    write_image(output.with_suffix(".png"), Image(pixels))
    write_atomic(output, page(card).encode())
    return card


def check_request(request: CardRequest, output: Path) -> tuple[CardText, Training]:
    """Check everything that needs no model, and return what words and run say.

    Raises:
        CardError: An input is missing, damaged, or does not fit the protocol.
    """
    text, training = read_card_text(request.words), read_training(request.run)
    _check(request.model.is_file(), f"there is no model file {request.model}. Export it first: dae-export {request.run} ...")
    _check(output.suffix == ".md" and output.parent.is_dir(), f"{output} must be a .md file in a folder that exists.")
    needs_file = text.protocol == DIGITS
    expected = "an .npz file with x_test" if needs_file else "a folder of images"
    fits = request.test.is_file() if needs_file else request.test.is_dir()
    _check(fits, f"the protocol {text.protocol} needs {expected} with --test; received {request.test}.")
    paired = request.reference is not None and request.reference.is_dir()
    _check(paired == (text.protocol == PAIRS), f"--reference must be a folder exactly with the protocol {PAIRS}.")
    return text, training


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise CardError(message)


def _scores(denoiser: Denoiser, text: CardText, training: Training, request: CardRequest) -> Scores:
    from .scores import digit_scores, gaussian_scores, pair_scores

    if text.protocol == GAUSSIAN:
        return gaussian_scores(denoiser, request.test, request.seed, request.threads)
    if request.reference is not None:
        return pair_scores(denoiser, request.test, request.reference)
    return digit_scores(denoiser, request.test, training.noise, training.clip, request.seed)


def _picture(
    denoiser: Denoiser, text: CardText, training: Training, request: CardRequest
) -> tuple[npt.NDArray[np.uint8], str]:
    from .picture import digit_strip, page_strip, photograph_strip
    from .scores import fixed_sigma

    if text.protocol == GAUSSIAN:
        pixels, name, sigma = photograph_strip(denoiser, request.pictures)
        return pixels, f"Noisy (sigma {sigma:g}), denoised, clean: the middle of {_portable(request.pictures / name)}"
    if text.protocol == PAIRS:
        return page_strip(denoiser), "Noisy, denoised, clean: a drawn page"
    return digit_strip(denoiser, fixed_sigma(training.noise)), "Noisy, denoised, clean: drawn digits"


def _command(request: CardRequest, output: Path) -> str:
    """Return the command that writes the card."""
    paths = {"--run": request.run, "--model": request.model, "--test": request.test, "--reference": request.reference}
    words = ["python", "-m", "dae_tools.cards"]
    for flag, path in {**paths, "-o": output}.items():
        words += [flag, _portable(path)] if path else []
    return shlex.join(words)


def _portable(path: Path) -> str:
    """Return a relative path unchanged, and of an absolute path the last part: local folders are of no interest."""
    return path.name if path.is_absolute() else str(path)


@click.command()
@click.option("--run", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="Run directory.")
@click.option("--model", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The .onnx file.")
@click.option("--test", required=True, type=click.Path(exists=True, path_type=Path), help="Test images.")
@click.option(
    "--reference",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Clean images of the same relative paths; those of --test are then noisy.",
)
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Markdown file to write.")
@click.option("--words", type=click.Path(path_type=Path), help="TOML file with a table [card] [default: of the model's name].")
@click.option(
    "--pictures",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=PICTURES,
    show_default=True,
    help="Photographs; one is shown.",
)
@click.option("--threads", type=click.IntRange(min=1), default=THREADS, show_default=True, help="CPU threads.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the test noise.")
@click.option("--rounds", type=click.IntRange(min=1), hidden=True)
def command(
    run: Path,
    model: Path,
    test: Path,
    reference: Path | None,
    output: Path,
    words: Path | None,
    pictures: Path,
    threads: int,
    seed: int,
    rounds: int | None,
) -> None:
    """Measure a trained and exported model, and write its card with a picture."""
    require("dae_tools.cards", "export", "onnx")
    require("dae_tools.cards", "cpu", "onnxruntime")
    words = words or default_words(model.stem)
    request = CardRequest(run, model, words, test, reference, pictures, threads, seed, rounds)
    write_card(request, output)
    click.echo(f"wrote {output} and {output.with_suffix('.png')}")


def default_words(name: str) -> Path:
    """Return the path of the words of a bundled model's card."""
    return Path(__file__).with_name(f"{name}.toml")
