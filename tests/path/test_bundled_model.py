"""How a bundled model is made: its recipe, and the chain of `make model`."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dae_runtime.models import bundled_models
from dae_tools.cards.command import default_words
from dae_tools.cards.run import DIGITS, PAIRS, read_card_text
from dae_train.data.groups import read_groups
from dae_train.settings.config import from_toml
from dae_train.settings.flags import merge

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "train/dae_train/recipes").glob("*.toml"))
SECOND = [path for path in FILES if path.stem.endswith("-int8")]
START = [path for path in FILES if path.stem.endswith("-start")]
WHITE = [path for path in FILES if path.stem.endswith("-white")]
RECIPES = [path for path in FILES if path not in (*SECOND, *START, *WHITE)]
STEPS = {
    "dae-train": 'echo "dae-train $*" >> calls; for run; do :; done; mkdir -p $run; touch $run/run.toml $run/result.toml',
    "dae-export": 'echo "dae-export $*" >> calls; touch toy.onnx',
    "python": 'echo "python $*" >> calls; touch toy.md',
}


def test_there_are_recipes_of_all_bundled_models():
    assert {"gray", "color", "photo", "document", "mnist-v2"} <= {path.stem for path in RECIPES}
    assert set(bundled_models()) <= {path.stem for path in RECIPES}
    assert all((ROOT / f"docs/models/{name}.md").is_file() for name in bundled_models())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_a_configuration_and_its_card_has_words(path, tmp_path):
    assert set(tomllib.loads(path.read_text("utf-8"))) <= {"model", "noise", "training", "data"}
    text, config = read_card_text(default_words(path.stem)), from_toml(path)
    assert f"NAME={path.stem} " in text.repeat
    assert (text.protocol == PAIRS) == ("TARGET=" in text.repeat) == ("REFERENCE=" in text.repeat)
    assert config.data.source == "synthetic"  # data are given on the command line
    old = tmp_path / "old.toml"  # recipes held the words themselves once
    old.write_text(path.read_text("utf-8") + default_words(path.stem).read_text("utf-8"), "utf-8")
    assert from_toml(old) == merge(str(old), {}) == config
    merged = merge(str(path), {"data": "photos", "steps": 5 if config.training.steps else None})
    assert merged.data.source == "photos"
    if text.protocol == DIGITS:
        assert config.noise_spec.startswith("gaussian:")


@pytest.mark.parametrize("path", SECOND, ids=lambda path: path.stem)
def test_a_second_part_continues_with_the_same_network_and_noise(path):
    first, second = from_toml(path.with_stem(path.stem.removesuffix("-int8"))), from_toml(path)
    assert second.training.qat
    assert second.model == first.model
    assert second.noise == first.noise or path.stem == "photo-int8"  # which is for weak noise alone
    assert second.training.rate < first.training.rate


@pytest.mark.parametrize("path", START, ids=lambda path: path.stem)
def test_a_part_before_makes_the_same_network_without_the_level(path):
    before, then = from_toml(path), from_toml(path.with_stem(path.stem.removesuffix("-start")))
    assert dataclasses.replace(then.model, sigma=False) == before.model
    assert then.model.sigma
    assert before.data == then.data


@pytest.mark.parametrize("path", WHITE, ids=lambda path: path.stem)
def test_a_part_on_white_noise_makes_the_same_network(path):
    first, white = from_toml(path.with_stem(path.stem.removesuffix("-white"))), from_toml(path)
    assert white.model == first.model
    assert white.noise_spec == "gaussian:0-60/255"


@pytest.fixture
def make(tmp_path):
    """Run `make model` with steps that only say what they were asked for; returns what they said."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "recipe.toml", "words.toml", "venv/.installed", "venv/.installed-dev"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "bin").mkdir()
    for name, lines in STEPS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{lines}\n", "utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}

    def run(*words: str) -> tuple[list[str], subprocess.CompletedProcess[str]]:
        fixed = "VENV=venv BIN=./bin RUN=run MODEL=toy.onnx CARD=toy.md RECIPE=recipe.toml WORDS=words.toml".split()
        line = ["make", "model", *fixed, *words]
        finished = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
        calls = tmp_path / "calls"
        said = calls.read_text("utf-8").splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return said, finished

    return run


def test_the_chain_of_steps(make):
    said, finished = make("NAME=toy", "DATA=noisy", "TARGET=clean", "TEST=other", "REFERENCE=pure", "EXPORT=--max-psnr-drop 1")
    assert finished.returncode == 0, finished.stderr
    assert [" ".join(call.split()) for call in said] == [
        "dae-train noisy --config recipe.toml --target clean -o run",
        "dae-export run --name toy --quantize --max-psnr-drop 1 --overwrite -o toy.onnx",
        "python -m dae_tools.cards --run run --model toy.onnx --words words.toml --test other --reference pure -o toy.md",
    ]


def test_steps_that_are_done_are_left_out(make, tmp_path):
    words = ("NAME=toy", "DATA=photos", "TEST=set12")
    assert [call.split()[0] for call in make(*words)[0]] == ["dae-train", "dae-export", "python"]
    assert make(*words)[0] == []
    (tmp_path / "toy.md").unlink()
    assert [call.split()[0] for call in make(*words)[0]] == ["python"]
    (tmp_path / "run" / "result.toml").unlink()  # as if the training had been cut off
    said, _ = make(*words, "DEVICE=gpu")
    assert " ".join(said[0].split()) == "dae-train --resume -o run --device gpu"
    assert [call.split()[0] for call in said[1:]] == ["dae-export", "python"]


def test_a_second_part_of_the_recipe_comes_between_training_and_export(make, tmp_path):
    (tmp_path / "recipe-int8.toml").touch()
    said, finished = make("NAME=toy", "DATA=photos", "TEST=set12")
    assert finished.returncode == 0, finished.stderr
    assert [" ".join(call.split()) for call in said] == [
        "dae-train photos --config recipe.toml -o run",
        "dae-train photos --config recipe-int8.toml --init run --teacher run --teacher-weight 1 -o run-int8",
        "dae-export run-int8 --name toy --quantize --overwrite -o toy.onnx",
        "python -m dae_tools.cards --run run-int8 --model toy.onnx --words words.toml --test set12 -o toy.md",
    ]


def test_a_part_on_white_noise_becomes_half_of_the_teacher(make, tmp_path):
    for name in ("recipe-int8.toml", "recipe-white.toml"):
        (tmp_path / name).touch()
    said, finished = make("NAME=toy", "DATA=photos", "TEST=set12")
    assert finished.returncode == 0, finished.stderr
    assert [" ".join(call.split()) for call in said[:4]] == [
        "dae-train photos --config recipe.toml -o run",
        "dae-train photos --config recipe-white.toml --init run -o run-white",
        "python -m dae_tools.blend run run-white -o run-blend.keras",
        "dae-train photos --config recipe-int8.toml --init run --teacher run-blend.keras --teacher-weight 1 -o run-int8",
    ]
    assert [call.split()[0] for call in said[4:]] == ["dae-export", "python"]


def test_a_longer_training_is_longer_in_its_first_part(make, tmp_path):
    (tmp_path / "recipe-int8.toml").touch()
    said, _ = make("NAME=toy", "DATA=photos", "TEST=set12", "DEVICE=gpu", "STEPS=300000")
    assert [" ".join(call.split()) for call in said[:2]] == [
        "dae-train photos --config recipe.toml --device gpu --steps 300000 -o run",
        "dae-train photos --config recipe-int8.toml --init run --teacher run --teacher-weight 1 --device gpu -o run-int8",
    ]


def test_a_part_before_is_what_the_network_starts_from(make, tmp_path):
    (tmp_path / "recipe-start.toml").touch()
    said, _ = make("NAME=toy", "DATA=photos", "TEST=set12")
    assert [" ".join(call.split()) for call in said[:3]] == [
        "dae-train photos --config recipe-start.toml -o run-start",
        "dae-train photos --config recipe.toml --init run-start -o run",
        "dae-export run --name toy --quantize --overwrite -o toy.onnx",
    ]


def test_without_data_it_says_what_is_missing(make):
    said, finished = make("NAME=toy")
    assert (said, finished.returncode) == ([], 2)
    assert "expected NAME, DATA and TEST" in finished.stderr


def test_pairs_are_split_by_their_groups(tmp_path):
    names = [str(number) for number in range(10)]
    for name in names:
        for kind in ("noisy", "clean"):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / kind / f"{name}.png").write_text(f"{kind} {name}", "utf-8")
    (tmp_path / "groups.json").write_text(json.dumps([[0, 1, 2], [3, 4], [5, 6], [7, 8, 9]]), "utf-8")
    program = [sys.executable, str(ROOT / "examples/split_pairs.py"), "noisy", "clean", "groups.json", "out", "--every", "2"]
    finished = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 0, finished.stderr
    found = {part: {path.stem for path in (tmp_path / "out" / part / "noisy").iterdir()} for part in ("train", "test")}
    assert found == {"train": {"3", "4", "7", "8", "9"}, "test": {"0", "1", "2", "5", "6"}}
    assert read_groups(tmp_path / "out/train/groups.json") == [["3", "4"], ["7", "8", "9"]]  # as --val-groups takes them
    for path in (tmp_path / "out").rglob("*.png"):
        assert path.read_text("utf-8") == f"{path.parent.name} {path.stem}"
    (tmp_path / "noisy" / "10.png").touch()
    finished = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 2
    assert "10.png is in no group" in finished.stderr
