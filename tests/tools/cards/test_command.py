"""A model's card: what it takes from words and run, what it measures, what it writes."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from dae_runtime import Denoiser
from dae_runtime.contract import Quality
from dae_runtime.images import Image, read_image, write_image
from dae_runtime.pixels.metrics import psnr_db
from dae_tools.cards import drawings as drawn
from dae_tools.cards.command import CardRequest, command, default_words, write_card
from dae_tools.cards.errors import CardError
from dae_tools.cards.picture import photograph_strip
from dae_tools.cards.run import CardText, late_gain, read_card_text, read_training, shortened
from dae_tools.cards.scores import digit_scores, fixed_sigma, gaussian_scores, pair_scores
from dae_tools.export_bench import comparison
from dae_tools.export_bench.comparison import FFDNET, NLM
from dae_tools.gaussian import add_gaussian, score_gaussian
from dae_train import RunError
from dae_train.judging.history import COLUMNS, write_history

LARGEST_PICTURE_BYTES = 300_000
CARD = """
[card]
purpose = "Shows how cards are made."
protocol = "{protocol}"
data = "Nothing but waves."
terms = "Anybody may use waves."
test_data = "other waves."
licence = "MIT"
repeat = "make model NAME=toy"
limits = ["It blurs.", "It knows nothing."]
"""
RUN = """command = "dae-train /home/somebody/waves --noise gaussian:0.1"
[record]
device = "CPU, 2 cores"
[noise]
spec = "{noise}"
clip = false
[data]
source = "/home/somebody/waves"
[training]
batch_size = 8
"""


@pytest.fixture(autouse=True)
def _small_images(monkeypatch):
    """Time small images: other denoisers take seconds for large ones."""
    monkeypatch.setattr(comparison, "COMPARED_PX", 48)


@pytest.fixture
def make_run(tmp_path):
    """Write a finished run directory of ten epochs of 100 steps."""

    def make(noise="gaussian:0.1"):
        run = tmp_path / "run"
        run.mkdir(exist_ok=True)
        (run / "run.toml").write_text(RUN.format(noise=noise), "utf-8")
        (run / "result.toml").write_text("parameters = 1234\nepochs = 10\nseconds = 7200.0\n", "utf-8")
        changing = ({"epoch": epoch, "step": 100 * epoch, "val_psnr": 30 + 0.1 * epoch} for epoch in range(1, 11))
        write_history(run / "history.csv", [dict.fromkeys(COLUMNS, 0.0) | row for row in changing])
        return run

    return make


@pytest.fixture
def request_for(tmp_path, make_run, make_contract_file):
    """Return a request for a card of the blur, by protocol, with everything that it needs."""

    def make(protocol, noise="gaussian:0.1", extra="", **changes):
        words = tmp_path / "toy.toml"
        words.write_text(CARD.format(protocol=protocol) + extra, "utf-8")
        quality = Quality(8, 20.0, 25.0, 25.0)
        model = make_contract_file("toy", quality=quality, report={"macs_per_pixel": {"network": 144.0, "computed": 150.0}})
        test = {"gaussian": photographs, "pairs": pairs, "digits": digits}[protocol](tmp_path)
        reference = tmp_path / "clean" if protocol == "pairs" else None
        request = CardRequest(make_run(noise), model, words, test, reference, photographs(tmp_path), threads=1, rounds=1)
        return dataclasses.replace(request, **changes)

    return make


def photographs(root):
    folder = root / "photographs"
    folder.mkdir(exist_ok=True)
    ramp = np.linspace(20, 235, 200)
    for number in range(2):
        write_image(folder / f"{number}.png", Image((np.add.outer(ramp, np.roll(ramp, 50 * number)) / 2).astype(np.uint8)))
    return folder


def pairs(root):
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(((40, 50), (64, 32))):
        clean = np.full((height, width), 100 + 50 * number, np.uint8)
        for name, image in (("clean", clean), ("noisy", np.clip(clean + rng.normal(0, 20, clean.shape), 0, 255))):
            (root / name).mkdir(exist_ok=True)
            write_image(root / name / f"{number}.png", Image(np.rint(image).astype(np.uint8)))
    return root / "noisy"


def digits(root):
    x_test = np.repeat(drawn.digits()[..., 0], 60, axis=0)  # more than fit in one batch
    np.savez(root / "digits.npz", x_test=x_test)
    return root / "digits.npz"


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


def test_the_picture_of_a_colour_model_is_small_even_if_it_is_all_noise(tmp_path):
    class Idle:
        model = type("Model", (), {"channels": 3})

        def denoise(self, noisy):
            return noisy

    folder = tmp_path / "photographs"
    folder.mkdir()
    write_image(folder / "gray.png", Image(np.zeros((8, 8), np.uint8)))
    write_image(folder / "noise.png", Image(np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)))
    pixels, name = photograph_strip(Idle(), folder)
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocol": "guess"}, "must be one of gaussian, pairs, digits, not 'guess'"),
        ({"purpose": ""}, "text that is not empty"),
        ({"limits": [3]}, "text that is not empty"),
    ],
)
def test_the_words_of_a_card_are_checked(change, words):
    sound = dict.fromkeys(("purpose", "data", "terms", "test_data", "licence", "repeat"), "words") | {"protocol": "pairs"}
    assert CardText(**sound).limits == ()
    with pytest.raises(CardError, match=words):
        CardText(**(sound | change))


def test_words_without_a_whole_card_are_refused(tmp_path):
    path = tmp_path / "words.toml"
    for content, words in (
        ("", "lacks data, licence, protocol"),
        (CARD.format(protocol="pairs") + "colour = 1\n", "unknown keys colour"),
        ("[card", "cannot be read"),
    ):
        path.write_text(content, "utf-8")
        with pytest.raises(CardError, match=words):
            read_card_text(path)
    with pytest.raises(CardError, match="cannot be read"):
        read_card_text(tmp_path / "missing.toml")


def test_an_unfinished_or_damaged_run_is_refused(make_run):
    run = make_run()
    assert read_training(run).seconds == 7200
    (run / "history.csv").write_text("epoch,step\n1,many\n", "utf-8")
    with pytest.raises(RunError, match=r"history\.csv is damaged"):
        read_training(run)
    (run / "result.toml").unlink()
    with pytest.raises(CardError, match=r"not finished.*dae-train --resume"):
        read_training(run)


def test_a_start_that_was_trained_anew_is_refused(make_run, tmp_path):
    run = make_run()
    shutil.copytree(run, tmp_path / "start")
    (tmp_path / "start" / "model.keras").write_bytes(b"of then")
    digest = hashlib.sha256(b"of then").hexdigest()
    described = (run / "run.toml").read_text("utf-8")
    start = f'[training]\ninit = "{(tmp_path / "start").as_posix()}"\ninit_sha256 = "{digest}"'
    (run / "run.toml").write_text(described.replace("[training]", start), "utf-8")
    assert read_training(run).before is not None
    (tmp_path / "start" / "model.keras").write_bytes(b"trained anew")
    with pytest.raises(CardError, match=f"is not the network that this training began with: expected SHA-256 {digest}"):
        read_training(run)


def test_a_card_names_the_bundled_model_that_the_training_began_with(request_for, tmp_path):
    for start, told in (("gray", True), ("elsewhere/first.keras", False)):
        request = request_for("digits")
        description = request.run / "run.toml"
        text = description.read_text("utf-8")
        description.write_text(text.replace("[training]", f'[training]\ninit = "{start}"'), "utf-8")
        write_card(request, tmp_path / "toy.md")
        line = f"- Began with the network of `{start}`: [its training]({start}.md#training)."
        assert (line in (tmp_path / "toy.md").read_text("utf-8").splitlines()) == told


def test_the_late_gain():
    rows = [{"step": 10.0 * n, "val_psnr": float(n)} for n in range(1, 31)]
    late = late_gain(rows)
    assert (late.gain, late.from_step, late.to_step) == (3.0, 270, 300)
    assert late_gain(rows[:1]) is None
    assert late_gain([]) is None
    assert late_gain([{"step": 10.0 * n, "val_loss": 1.0} for n in range(1, 31)]) is None


def test_paths_are_shortened():
    assert shortened('source = "/data/photos"') == 'source = "photos"'
    assert (
        shortened("dae-train /a/b/c --target /x --noise gaussian:25/255") == "dae-train c --target x --noise gaussian:25/255"
    )
    assert shortened('spec = "fit:0.7-1.4:/data/noisy"') == 'spec = "fit:0.7-1.4:noisy"'
    assert shortened("runs/gray and https://host/path/x") == "runs/gray and https://host/path/x"


def test_what_does_not_fit_the_protocol_is_refused_before_anything_is_measured(request_for, tmp_path):
    gaussian = request_for("gaussian")
    cases = [
        (dataclasses.replace(gaussian, test=gaussian.model), "a folder of images"),
        (dataclasses.replace(gaussian, reference=gaussian.test), "exactly with the protocol pairs"),
        (dataclasses.replace(gaussian, model=tmp_path / "none.onnx"), "no model file"),
    ]
    pairs_request = request_for("pairs")
    for request, words in cases:
        with pytest.raises(CardError, match=words):
            write_card(dataclasses.replace(request, words=words_of("gaussian", tmp_path)), tmp_path / "toy.md")
    with pytest.raises(CardError, match="exactly with the protocol pairs"):
        write_card(dataclasses.replace(pairs_request, words=words_of("pairs", tmp_path), reference=None), tmp_path / "toy.md")
    with pytest.raises(CardError, match=r"must be a \.md file"):
        write_card(dataclasses.replace(gaussian, words=words_of("gaussian", tmp_path)), tmp_path / "toy.txt")
    assert not (tmp_path / "toy.md").exists()


def words_of(protocol, tmp_path):
    path = tmp_path / f"{protocol}.toml"
    path.write_text(CARD.format(protocol=protocol), "utf-8")
    return path


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


def test_the_drawn_page_is_soiled_and_has_writing():
    soiled, clean = drawn.page()
    assert soiled.shape == clean.shape == (192, 192)
    assert (clean == 255).mean() > 0.6
    assert 0.03 < (clean < 100).mean() < 0.3
    paper = clean == 255
    assert soiled[paper].mean() < 240
    assert soiled[paper].std() > 15


def test_the_drawn_digits_differ():
    images = drawn.digits()
    assert images.shape == (10, 28, 28, 1)
    assert len({image.tobytes() for image in images}) == 10
