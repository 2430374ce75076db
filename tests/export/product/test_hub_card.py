"""The card of a model on the Hugging Face Hub is what its own library reads, whatever the model is called."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from builders import invoke
from dae_export.cli import command
from dae_export.errors import ExportError
from dae_export.product import write_card
from dae_export.product.hub_card import card_text
from dae_runtime.models import bundled_models, describe_models


@pytest.mark.parametrize("name", ["gray", "photo"])
def test_the_card_of_a_bundled_model(tmp_path, name):
    file = bundled_models()[name]
    done = invoke(command, file, "--hub-card", tmp_path / "README.md", "--hub-license", "mit")
    assert done.exit_code == 0, done.output
    card = ModelCard.load(tmp_path / "README.md")
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == ("mit", "onnx", "image-to-image")
    assert {"onnx", "image-denoising", "int8", "grayscale" if name == "gray" else "rgb"} <= set(card.data.tags)
    (model,) = [model for model in describe_models() if model.name == name]
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("psnr", round(model.contract.quality.psnr_db, 2))
    assert hashlib.sha256(file.read_bytes()).hexdigest() in card.text
    with pytest.raises(ExportError, match="already exists"):
        write_card(file, tmp_path / "README.md", "mit")


@pytest.mark.parametrize("name", ["a: b", "---\nlicense: other\n---", "</script><img src=x>", "| `x` [y](z)", "\x85\u2028ü"])
def test_no_name_of_a_model_writes_into_the_card(name):
    (model,) = [model for model in describe_models() if model.name == "gray"]
    hostile = replace(model.contract, name=name, preset=name, noise=name)
    plain, other = (
        ModelCard(card_text(contract, b"", file, "cc-by-4.0"))
        for contract, file in ((model.contract, "m.onnx"), (hostile, name))
    )
    assert other.data.license == "cc-by-4.0"
    assert other.data.model_name == name
    assert other.text.count("\n") == plain.text.count("\n")
    assert not [part for part in ("<", "](", "`x`", "\x85", "\u2028") if part in other.text]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--hub-card", "README.md"), 2, "--hub-license"),
        (("--hub-license", "mit"), 2, "--hub-card"),
        (("--hub-card", "README.md", "--hub-license", "mit", "--check"), 2, "exclude each other"),
        (("--hub-card", "README.md", "--hub-license", "my own: license"), 1, "--hub-license must be an identifier"),
        (("--hub-card", "card.txt", "--hub-license", "mit"), 1, "ends in .md"),
        (("--hub-card", "missing/README.md", "--hub-license", "mit"), 1, "does not exist"),
    ],
)
def test_wrong_arguments_write_nothing(tmp_path, dae_export, arguments, status, words):
    done = dae_export(bundled_models()["gray"], *arguments, cwd=tmp_path)
    assert (done.returncode, words in done.stderr) == (status, True), done.stderr
    assert not list(tmp_path.iterdir())
