"""A model's card: measurements and text."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from click.testing import CliRunner

from dae_runtime import Denoiser
from dae_runtime.images import Image, read_image, write_image
from dae_runtime.pixels.metrics import psnr_db
from dae_tools.cards import drawings as drawn
from dae_tools.cards.command import command, default_words, write_card
from dae_tools.cards.errors import CardError
from dae_tools.cards.picture import photograph_strip
from dae_tools.cards.scores import digit_scores, fixed_sigma, gaussian_scores, pair_scores
from dae_tools.export_bench.comparison import FFDNET, NLM
from dae_tools.gaussian import add_gaussian, score_gaussian

LARGEST_PICTURE_BYTES = 300_000


def test_the_card_of_a_photograph_model_holds_what_was_measured(request_for, tmp_path):
    request = request_for("gaussian", extra='published = "Set12"\n')
    card = write_card(request, tmp_path / "toy.md")
    text = (tmp_path / "toy.md").read_text("utf-8")
    with Denoiser(request.model, "cpu", 1) as denoiser:
        expected = [score_gaussian(denoiser, sorted(request.test.iterdir()), sigma) for sigma in (0, 15, 25, 50)]
    assert card.scores.by_sigma == tuple(expected)
    assert f"| **this file** | {' | '.join(f'**{score.psnr_db:.2f}**' for score in expected)} |" in text
    assert f"| noisy | - | {expected[1].noisy_psnr_db:.2f} |" in text
    assert "| BM3D (as published) | - | 32.37 | 29.97 | 26.72 |" in text
    assert (
        f"| **toy** | {card.comparison.denoisers['toy'].latency.median_ms:.1f} | {card.comparison.ratio('toy', FFDNET):.2f} |"
        in text
    )
    assert card.comparison.ratio("toy", NLM) is not None
    assert card.comparison.shape == (1, 48, 48, 1)
    assert hashlib.sha256(request.model.read_bytes()).hexdigest() in text
    for words in (
        "Shows how cards are made.",
        "- Data: Nothing but waves.",
        "- It knows nothing.",
        "1,000 steps of 8 images or crops in 10 epochs, 2.0 hours on CPU, 2 cores",
        "Steps 900 to 1,000, the last 10%, brought +0.100 dB of PSNR in validation.",
        "144 MAC per pixel (150 computed in this form)",
        "1,234 parameters",
        "2 pixels: what one output pixel depends on",
        "    make model NAME=toy",
    ):
        assert words in text, words
    assert "/home/somebody" not in text
    assert 'source = "waves"' in text
    assert str(tmp_path) not in text


def test_the_picture_lies_beside_the_card_and_is_small(request_for, tmp_path):
    request = request_for("gaussian")
    write_card(request, tmp_path / "toy.md")
    path = tmp_path / "toy.png"
    assert "](toy.png)" in (tmp_path / "toy.md").read_text("utf-8")
    assert path.stat().st_size < LARGEST_PICTURE_BYTES
    pixels = read_image(path).pixels
    assert pixels.shape == (160, 3 * 160 + 2 * 4)
    noisy, denoised, clean = pixels[:, :160], pixels[:, 164:324], pixels[:, 328:]
    assert psnr_db(clean, noisy, 255) < psnr_db(clean, denoised, 255) - 2
    assert write_card(request, tmp_path / "toy.md").picture == "toy.png"  # a second time, over the first


def test_the_picture_of_a_color_model_is_small_even_if_it_is_all_noise(tmp_path):
    class Idle:
        model = type("Model", (), {"channels": 3, "sigma": None})

        def denoise(self, noisy):
            return noisy

    folder = tmp_path / "photographs"
    folder.mkdir()
    write_image(folder / "gray.png", Image(np.zeros((8, 8), np.uint8)))
    write_image(folder / "noise.png", Image(np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)))
    pixels, name, sigma = photograph_strip(Idle(), folder)
    assert sigma == 25
    assert name == "noise.png"
    write_image(tmp_path / "strip.png", Image(pixels))
    assert (tmp_path / "strip.png").stat().st_size < LARGEST_PICTURE_BYTES
    (folder / "noise.png").unlink()
    with pytest.raises(CardError, match="no image of 3 channels"):
        photograph_strip(Idle(), folder)


def test_the_card_of_a_page_model(request_for, tmp_path):
    request = request_for("pairs")
    card = write_card(request, tmp_path / "toy.md")
    with Denoiser(request.model, "cpu", 1) as denoiser:
        squares = {"noisy": [], "denoised": []}
        for path in sorted(request.test.iterdir()):
            noisy, clean = (read_image(folder / path.name).pixels for folder in (request.test, request.reference))
            for name, image in (("noisy", noisy), ("denoised", denoiser.denoise(noisy))):
                squares[name] += list(((image.astype(float) - clean) / 255).ravel() ** 2)
    assert card.scores.noisy_rmse == pytest.approx(np.sqrt(np.mean(squares["noisy"])), rel=1e-5)
    assert card.scores.rmse == pytest.approx(np.sqrt(np.mean(squares["denoised"])), rel=1e-5)
    assert card.scores.rmse < card.scores.noisy_rmse
    assert card.scores.psnr_db > card.scores.noisy_psnr_db
    text = (tmp_path / "toy.md").read_text("utf-8")
    assert f"| **this file** | **{card.scores.rmse:.4f}** |" in text
    assert "--reference clean" in text
    assert "a drawn page" in text


def test_pairs_must_be_pairs(request_for, tmp_path):
    request = request_for("pairs")
    write_image(tmp_path / "clean" / "1.png", Image(np.zeros((10, 10), np.uint8)))
    with Denoiser(request.model, "cpu", 1) as denoiser:
        with pytest.raises(CardError, match=r"1\.png is \(64, 32, 1\), its clean counterpart \(10, 10, 1\)"):
            pair_scores(denoiser, request.test, request.reference)
        (tmp_path / "clean" / "1.png").unlink()
        with pytest.raises(CardError, match=r"1\.png has no clean counterpart"):
            pair_scores(denoiser, request.test, request.reference)


def test_the_card_of_a_digit_model(request_for, tmp_path):
    request = request_for("digits")
    card = write_card(request, tmp_path / "toy.md")
    scores = card.scores
    assert (scores.images, scores.sigma, scores.clipped) == (600, 0.1, False)
    assert scores.noisy_mse == pytest.approx(0.01, rel=0.02)
    clean = np.repeat(drawn.digits(), 60, axis=0)
    noisy = np.concatenate([add_gaussian(clean[i : i + 500], 25.5, (0, i)) for i in (0, 500)])
    with Denoiser(request.model, "cpu", 1) as denoiser:
        p = np.clip(denoiser.denoise(noisy).astype(np.float64), 1e-7, 1 - 1e-7)
    t = clean / 255
    assert scores.mse == pytest.approx(np.mean((p - t) ** 2), rel=1e-4)
    assert scores.bce == pytest.approx(-np.mean(t * np.log(p) + (1 - t) * np.log(1 - p)), rel=1e-4)
    text = (tmp_path / "toy.md").read_text("utf-8")
    assert f"| **this file** | **{scores.bce:.4f}** | **{scores.mse:.4f}** | **{scores.psnr_db:.2f}** |" in text
    assert "drawn digits" in text


def test_the_noise_of_digits():
    assert fixed_sigma("gaussian:0.5") == 0.5
    assert fixed_sigma("gaussian:25/255") == 25 / 255
    for noise in ("gaussian:0-0.5", "poisson:30", "gaussian:0.5+jpeg:30"):
        with pytest.raises(CardError, match="needs a model trained with the noise gaussian:S"):
            fixed_sigma(noise)


def test_digits_must_be_digits(tmp_path):
    np.savez(tmp_path / "wrong.npz", x_test=np.zeros((3, 28, 28)))
    (tmp_path / "damaged.npz").write_bytes(b"nothing")
    for name, words in (("wrong", "must be uint8"), ("damaged", "no readable array"), ("missing", "no readable array")):
        with pytest.raises(CardError, match=words):
            digit_scores(None, tmp_path / f"{name}.npz", "gaussian:0.5", True, 0)


def test_non_local_means_is_scored_on_the_same_noise(request_for):
    request = request_for("gaussian")
    with Denoiser(request.model, "cpu", 1) as denoiser:
        scores = gaussian_scores(denoiser, request.test, 0, 1)
    assert scores.non_local_means_db > scores.by_sigma[2].noisy_psnr_db + 5


def test_what_does_not_fit_the_protocol_is_refused_before_anything_is_measured(request_for, write_words, tmp_path):
    gaussian = request_for("gaussian")
    cases = [
        (dataclasses.replace(gaussian, test=gaussian.model), "a folder of images"),
        (dataclasses.replace(gaussian, reference=gaussian.test), "exactly with the protocol pairs"),
        (dataclasses.replace(gaussian, model=tmp_path / "none.onnx"), "no model file"),
    ]
    pairs_request = request_for("pairs")
    for request, words in cases:
        with pytest.raises(CardError, match=words):
            write_card(dataclasses.replace(request, words=write_words("gaussian")), tmp_path / "toy.md")
    with pytest.raises(CardError, match="exactly with the protocol pairs"):
        write_card(dataclasses.replace(pairs_request, words=write_words("pairs"), reference=None), tmp_path / "toy.md")
    with pytest.raises(CardError, match=r"must be a \.md file"):
        write_card(dataclasses.replace(gaussian, words=write_words("gaussian")), tmp_path / "toy.txt")
    assert not (tmp_path / "toy.md").exists()


def test_the_command_writes_both_files(request_for, tmp_path):
    request = request_for("gaussian")
    arguments = ["--run", request.run, "--model", request.model, "--test", request.test, "--words", request.words]
    arguments += ["--pictures", request.pictures, "--threads", 1, "--rounds", 1, "-o", tmp_path / "card.md"]
    finished = CliRunner().invoke(command, [str(word) for word in arguments], catch_exceptions=False)
    assert finished.exit_code == 0
    assert finished.output == f"wrote {tmp_path / 'card.md'} and {tmp_path / 'card.png'}\n"
    assert (tmp_path / "card.md").read_text("utf-8").startswith("# toy\n")
    assert (tmp_path / "card.png").is_file()


def test_words_are_found_by_the_name_of_their_model():
    assert default_words("gray").is_file()
