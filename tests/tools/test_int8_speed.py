"""INT8 against float32 of the same network: the float32 side is that network, and the command names the processor."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest

from dae_runtime.engine.session import open_session, run_session
from dae_runtime.models import bundled_models
from dae_runtime.pixels.metrics import psnr_db
from dae_runtime.system.processor import cpu_name
from dae_tools.int8_speed import dequantized


@pytest.mark.parametrize("name", ["gray", "photo", "gray-25", "color", "document", "digits", "mnist-v2"])
def test_the_float_network_is_the_one_that_was_rounded(name):
    path = bundled_models()[name]
    model = dequantized(onnx.load(path))
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in model.graph.node}
    session = open_session(path)
    channels = session.get_inputs()[0].shape[3]
    noisy = np.clip(np.random.default_rng(0).normal(0.5, 0.1, (1, 65, 64, channels)), 0, 1).astype(np.float32)
    sigma = np.full((1, 1), 0.05, np.float32) if len(session.get_inputs()) > 1 else None
    outputs = [np.clip(run_session(each, noisy, sigma), 0, 1) for each in (session, open_session(model.SerializeToString()))]
    assert psnr_db(*outputs) > 35


@pytest.mark.parametrize("name", ["gray-25", "gray"])
def test_the_command_times_a_file_and_names_the_processor(name):
    command = [sys.executable, "-m", "dae_tools.int8_speed", str(bundled_models()[name])]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr
    assert cpu_name() in finished.stdout
    ratio = float(finished.stdout.splitlines()[-1].split()[3])
    assert 0 < ratio < 10
