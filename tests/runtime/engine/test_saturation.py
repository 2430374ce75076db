"""Older files on an engine that saturates sums: exact kernels and a log line, or an error; never a wrong picture."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest

from dae_runtime import Denoiser
from dae_runtime.contract import Contract
from dae_runtime.diagnosis.self_test import self_test
from dae_runtime.engine import opening, session
from dae_runtime.engine.golden import compare, golden_arrays
from dae_runtime.engine.saturation import saturates
from dae_runtime.errors import DeviceError, ModelError
from dae_runtime.models import bundled_models

OLD_COLOR = Path(__file__).parents[2] / "data/color-version-1.onnx"


@pytest.fixture
def cutting(monkeypatch):
    """Let the probe report saturated sums, with and without exact kernels as requested; return the requests of sessions."""

    def pretend(plain: bool, exact: bool) -> list[bool]:
        asked: list[bool] = []
        opened = session._open

        def note(*arguments, exact_kernels=False):
            asked.append(exact_kernels)
            return opened(*arguments, exact_kernels=exact_kernels)

        monkeypatch.setattr(session, "_open", note)
        monkeypatch.setattr(opening, "saturates", lambda _, exact_kernels=False: exact if exact_kernels else plain)
        return asked

    return pretend


def test_an_older_file_opens_without_a_statement_on_its_sums():
    with Denoiser(OLD_COLOR, "cpu") as denoiser:
        model = denoiser.model
        assert (model.pair_limit, model.any_size, model.golden.mean_abs_error, model.is_exact) == (None, False, None, False)
        assert self_test(denoiser).passed  # on any processor: it runs on exact kernels where sums saturate


def test_an_older_file_gets_exact_kernels_and_one_log_line(cutting, caplog):
    asked = cutting(plain=True, exact=False)
    with caplog.at_level(logging.WARNING, "dae_runtime"), Denoiser(OLD_COLOR, "cpu") as denoiser:
        assert self_test(denoiser).passed
    assert asked == [False, True]
    (line,) = caplog.messages
    assert "color: this processor saturates sums of this older INT8 file" in line
    assert "--calibration-data" in line


def test_where_there_are_no_exact_kernels_it_is_refused_with_file_processor_and_remedy(cutting):
    cutting(plain=True, exact=True)
    with pytest.raises(ModelError) as caught:
        Denoiser(OLD_COLOR, "cpu")
    for word in (str(OLD_COLOR), "saturates sums", "dae-export OLD.onnx"):
        assert word in str(caught.value)


@pytest.mark.parametrize("plain", [False, True])
def test_a_file_of_today_never_gets_them(cutting, plain, caplog):
    asked = cutting(plain=plain, exact=False)
    with caplog.at_level(logging.WARNING, "dae_runtime"):
        Denoiser("gray", "cpu").close()
    assert asked == [False]
    assert caplog.messages == []


def test_an_exact_engine_runs_an_older_file_on_fast_kernels(cutting):
    asked = cutting(plain=False, exact=False)
    Denoiser(OLD_COLOR, "cpu").close()
    assert asked == [False]


def test_the_probe_agrees_with_a_product_of_this_engine():
    module = session.load_engine()
    assert saturates(module, exact_kernels=True) is False
    opened = session.open_session(OLD_COLOR)
    contract = session.read_contract(opened, "old")
    noisy, expected = golden_arrays(contract)
    replay = compare(session.run_session(opened, noisy), expected, contract)
    assert replay.passed is not saturates(module)


@pytest.mark.parametrize("name", sorted(bundled_models()))
def test_the_golden_samples_show_both_ends_and_a_wrong_mean_fails(name):
    contract: Contract = session.read_contract(session.open_session(bundled_models()[name]), name)
    noisy, expected = golden_arrays(contract)
    assert noisy.shape[1:3] == (48, 48)
    for channel in range(contract.channels):
        assert (noisy[..., channel] == 1).mean() > 0.05
        assert (noisy[..., channel] == 0).mean() > 0.05
    assert compare(expected, expected, contract).passed
    shifted = np.clip(expected, 0, 1) * np.float32(0.99) + np.float32(0.0075)
    replay = compare(shifted, expected, contract)
    assert replay.max_abs_error <= replay.allowed_max
    assert not replay.passed  # the mean tells, where the largest error does not


def test_a_device_that_computes_something_else_is_refused_by_name_and_left_by_auto(monkeypatch, caplog):
    contract = session.read_contract(session.open_session(bundled_models()["gray"]), "gray")
    wrong = dataclasses.replace(compare(*golden_arrays(contract), contract), max_abs_error=1.0)
    monkeypatch.setattr(opening, "session_device", lambda found: "cuda:0" if found not in on_cpu else "cpu")
    monkeypatch.setattr(opening, "replay_golden", lambda found, contract: wrong)
    opened, on_cpu = opening.open_session, set()

    def open_anywhere(model, device="cpu", threads=None):
        found = opened(model, "cpu", threads)
        if device == "cpu":
            on_cpu.add(found)
        return found

    monkeypatch.setattr(opening, "open_session", open_anywhere)
    with pytest.raises(DeviceError, match="cuda:0 does not compute what the exporter"):
        opening.open_model(bundled_models()["gray"], "cuda")
    with caplog.at_level(logging.WARNING, "dae_runtime"):
        opened_model, _ = opening.open_model(bundled_models()["gray"], "auto")
    assert opened_model in on_cpu
    assert "running on the CPU" in caplog.text
