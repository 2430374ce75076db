"""Noise settings: parsing, requests to measure, errors."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dae_runtime.contract import NoiseSpec, parse_noise
from dae_train import ConfigError, NoiseSettings, RunConfig, from_toml, to_toml
from dae_train.settings.noise import FitRequest

COUNTED = """
import sys
from dae_runtime.contract import noise_spec

read, calls = noise_spec._parse_step, []
noise_spec._parse_step = lambda part, spec: (calls.append(part), read(part, spec))[1]
from dae_train.cli import command

command(sys.argv[1:], standalone_mode=False)
print("read:", *calls)
"""


def test_settings_keep_the_parsed_text() -> None:
    text = " gaussian:5/255-50/255 + jpeg:30-90"
    settings = NoiseSettings(text)
    assert settings.spec == parse_noise(text)
    assert str(settings.spec) == text
    assert settings.recipes == parse_noise(text).recipes
    assert not settings.none
    assert NoiseSettings("none").none
    assert not NoiseSettings().none
    assert dataclasses.replace(settings, clip=False).spec is settings.spec


def test_a_request_to_measure_stays_a_request(tmp_path: Path) -> None:
    settings = NoiseSettings(" fit:0.7-1.4:some folder/a+b ")
    assert settings.spec == FitRequest("fit:0.7-1.4:some folder/a+b", "some folder/a+b", 0.7, 1.4)
    assert not settings.none
    for text in ("fit:C:/shots", "fit:0.7-1.4:", "fit:0.7:x", "fit:x-y:z"):
        assert NoiseSettings(text).spec == FitRequest(text, text.removeprefix("fit:"), 1, 1)
    (tmp_path / "run.toml").write_text(to_toml(RunConfig(noise=settings)))
    assert from_toml(tmp_path / "run.toml").noise == NoiseSettings("fit:0.7-1.4:some folder/a+b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gauss:0.5", "noise 'gauss:0.5': 'gauss' is not a kind of noise. Use one of: gaussian:S, poisson:PEAK, "),
        ("fit", "noise 'fit': 'fit' is not a kind of noise"),
        ("fit:", "noise 'fit:': expected fit:FOLDER or fit:LOW-HIGH:FOLDER, as fit:0.7-1.4:shots."),
        ("fit:1.4-0.7:x", "the factors must be above 0, the smaller one first; received 1.4 and 0.7."),
        ("fit:0-1:x", "the factors must be above 0, the smaller one first; received 0 and 1."),
        ("gaussian:25", "On the scale of 0 to 255 write 25/255."),
        ("jpeg:50 or gaussian:1-50+jpeg:9", "the standard deviation 50 of gaussian is 50 times white"),
        ("fit:1/0-1:x", "noise 'fit:1/0-1:x': '1/0' divides by zero."),
    ],
)
def test_wrong_texts_are_errors_of_the_configuration(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        NoiseSettings(text)
    assert said in str(caught.value)


@pytest.mark.slow
def test_dae_train_reads_the_text_once(digits_file: Path, tmp_path: Path) -> None:
    words = f"{digits_file} --noise gaussian:0.5+jpeg:50 --epochs 1 --steps-per-epoch 2 --device cpu -o {tmp_path / 'run'}"
    line = [sys.executable, "-c", COUNTED, *words.split()]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "read: gaussian:0.5 jpeg:50"
    written = from_toml(tmp_path / "run" / "run.toml").noise.spec
    assert isinstance(written, NoiseSpec)
    assert written.text == "gaussian:0.5+jpeg:50"
