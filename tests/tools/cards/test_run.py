"""Cards: text from the recipe and the run, and refused inputs."""

from __future__ import annotations

import hashlib
import shutil

import pytest

from dae_tools.cards.command import write_card
from dae_tools.cards.errors import CardError
from dae_tools.cards.run import CardText, late_gain, read_card_text, read_training, shortened
from dae_train import RunError


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


def test_words_without_a_whole_card_are_refused(write_words, tmp_path):
    path = tmp_path / "words.toml"
    for content, words in (
        ("", "lacks data, licence, protocol"),
        (write_words("pairs", "color = 1\n").read_text("utf-8"), "unknown keys color"),
        ("[card", "cannot be read"),
    ):
        path.write_text(content, "utf-8")
        with pytest.raises(CardError, match=words):
            read_card_text(path)
    with pytest.raises(CardError, match="cannot be read"):
        read_card_text(tmp_path / "missing.toml")


def test_an_unfinished_or_damaged_run_is_refused(make_finished_run):
    run = make_finished_run()
    assert read_training(run).seconds == 7200
    (run / "history.csv").write_text("epoch,step\n1,many\n", "utf-8")
    with pytest.raises(RunError, match=r"history\.csv is damaged"):
        read_training(run)
    (run / "result.toml").unlink()
    with pytest.raises(CardError, match=r"not finished.*dae-train --resume"):
        read_training(run)


def test_a_retrained_initial_network_is_refused(make_finished_run, tmp_path):
    run = make_finished_run()
    shutil.copytree(run, tmp_path / "start")
    (tmp_path / "start" / "model.keras").write_bytes(b"of then")
    digest = hashlib.sha256(b"of then").hexdigest()
    described = (run / "run.toml").read_text("utf-8")
    start = f'[training]\ninit = "{(tmp_path / "start").as_posix()}"\ninit_sha256 = "{digest}"'
    (run / "run.toml").write_text(described.replace("[training]", start), "utf-8")
    assert read_training(run).before is not None
    (tmp_path / "start" / "model.keras").write_bytes(b"trained again")
    with pytest.raises(CardError, match=f"is not the initial network of this training: expected SHA-256 {digest}"):
        read_training(run)


def test_a_card_names_the_bundled_model_that_the_training_began_with(request_for, tmp_path):
    for start, reported in (("gray", True), ("elsewhere/first.keras", False)):
        request = request_for("digits")
        description = request.run / "run.toml"
        text = description.read_text("utf-8")
        description.write_text(text.replace("[training]", f'[training]\ninit = "{start}"'), "utf-8")
        write_card(request, tmp_path / "toy.md")
        line = f"- Began with the network of `{start}`: [its training]({start}.md#training)."
        assert (line in (tmp_path / "toy.md").read_text("utf-8").splitlines()) == reported


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
