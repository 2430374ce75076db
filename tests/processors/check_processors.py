"""Every processor that can be emulated runs the wheel: self-tests, the doctor, and folders of images (docs/fuzzing.md)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import numpy as np
import pytest
from arm64_cores import CORES
from emulation import NATIVE, X86_MODELS, Processor

from dae_runtime.images import find_images, read_image
from dae_runtime.models import bundled_models

MOST_STEPS, MEAN_STEPS = 0, 0
"""How far a processor may be off, of 255."""


@pytest.fixture(scope="module", params=[NATIVE, *X86_MODELS, *CORES])
def processor(request, make_processor) -> Processor:
    return make_processor(request.param)


@pytest.fixture(scope="module")
def denoise(pictures, tmp_path_factory) -> Callable[[Processor, str], dict[str, np.ndarray]]:
    """Denoise the folder of pictures with a model on a processor, once; return what became of each."""
    done: dict[tuple[str, str], dict[str, np.ndarray]] = {}

    def run(processor: Processor, model: str) -> dict[str, np.ndarray]:
        key = processor.name, model
        if key not in done:
            output = tmp_path_factory.mktemp("out") / "clean"
            result = processor.dae_run(pictures, output, "-m", model, "--device", "cpu")
            assert result.returncode == 0, result.stdout + result.stderr
            done[key] = {path.name: read_image(path).pixels for path in sorted(find_images(output))}
        return done[key]

    return run


def test_every_bundled_model_passes_its_self_test(processor):
    start = time.monotonic()
    result = processor.dae_run("--self-test", "--device", "cpu")
    print(f"\n{processor.name}, self-tests, {time.monotonic() - start:.1f} s:\n{result.stdout.strip()}")
    assert result.returncode == 0, result.stderr
    assert sorted(re.findall(r"^(\S+) on cpu", result.stdout, re.MULTILINE)) == sorted(bundled_models())


def test_the_doctor_finds_no_problem(processor):
    result = processor.dae_run("--doctor")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "no problems found" in result.stdout


@pytest.mark.parametrize("model", ["default", "document", "digits"])  # default: gray and color
def test_a_folder_becomes_the_same_pictures(processor, make_processor, denoise, pictures, model):
    start = time.monotonic()
    received = denoise(processor, model)
    seconds = time.monotonic() - start
    expected = denoise(make_processor(NATIVE), model)
    assert list(received) == list(expected) == sorted(path.name for path in pictures.iterdir())
    errors = {name: steps_apart(received[name], expected[name]) for name in expected}
    largest, mean = (max(measure(error) for error in errors.values()) for measure in (np.max, np.mean))
    lines = [f"  {name}: largest {error.max():.3g}, mean {error.mean():.3g} of 255" for name, error in errors.items()]
    print(f"\n{processor.name}, a folder with {model}, {seconds:.1f} s, beside native:", *lines, sep="\n")
    allowed = MOST_STEPS, MEAN_STEPS
    assert largest <= allowed[0]
    assert mean <= allowed[1]


def steps_apart(received: np.ndarray, expected: np.ndarray) -> np.ndarray:
    assert received.dtype == expected.dtype
    assert received.shape == expected.shape
    return np.abs(received.astype(float) - expected) * 255 / np.iinfo(expected.dtype).max
