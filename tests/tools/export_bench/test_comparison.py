"""Other denoisers for comparison: their graphs are as described, all are timed, the page holds the figures."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from dae_export.graph.macs import macs_per_pixel
from dae_export.measure.parity import noisy_images
from dae_runtime.engine.session import open_session, run_session
from dae_tools.export_bench import command as bench
from dae_tools.export_bench import comparison, networks
from dae_tools.export_bench.comparison import DNCNN, FFDNET, FFDNET_INT8, NLM, compare, compared_shape
from dae_tools.export_bench.page import comparison_page
from dae_tools.export_bench.peers import dncnn, ffdnet, has_opencv, non_local_means


def weights(model: onnx.ModelProto) -> int:
    return sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer if len(tensor.dims) == 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_published_networks_have_their_published_size_and_take_any_image(channels):
    for model in (ffdnet(channels), dncnn(channels)):
        onnx.checker.check_model(model, full_check=True)
        noisy = noisy_images((1, 24, 32, channels))
        output = run_session(open_session(model.SerializeToString()), noisy)
        assert output.shape == noisy.shape
        assert np.isfinite(output).all()
        assert output.std() > 0
    layers = {1: (15, 64), 3: (12, 96)}[channels]
    kinds = [node.op_type for node in ffdnet(channels).graph.node]
    assert (kinds.count("Conv"), kinds.count("Relu"), kinds.count("SpaceToDepth")) == (layers[0], layers[0] - 1, 1)


def test_their_arithmetic_is_the_published_one():
    assert macs_per_pixel(ffdnet(), 64, 64) == pytest.approx(121e3, rel=0.01)
    assert macs_per_pixel(dncnn(), 64, 64) == pytest.approx(555e3, rel=0.01)
    assert weights(ffdnet()) == pytest.approx(485e3, rel=0.01)
    assert weights(dncnn()) == pytest.approx(556e3, rel=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_non_local_means_is_a_denoiser(channels):
    assert has_opencv()  # of the dev extra
    clean = np.broadcast_to(np.linspace(0.2, 0.8, 64)[:, None, None], (64, 64, channels)).astype(np.float32)
    noisy = clean + np.random.default_rng(0).normal(0, 25 / 255, clean.shape).astype(np.float32)
    denoised = non_local_means(noisy[None], 1)().reshape(clean.shape) / 255
    assert np.mean((denoised - clean) ** 2) < 0.3 * np.mean((noisy - clean) ** 2)


def test_every_denoiser_is_timed_and_the_page_holds_the_ratios(blur_denoiser):
    result = compare({"ours": blur_denoiser.SerializeToString()}, (1, 32, 48, 1), threads=1, rounds=1)
    assert list(result.denoisers) == [DNCNN, FFDNET, FFDNET_INT8, NLM, "ours"]
    ours = result.denoisers["ours"]
    assert ours.latency.median_ms > 0
    assert ours.macs_per_pixel == 2 * 8 * 9
    assert ours.size_bytes == len(blur_denoiser.SerializeToString())
    assert result.denoisers[NLM].macs_per_pixel is None
    ratio = result.ratio("ours", FFDNET)
    assert ratio == ours.latency.median_ms / result.denoisers[FFDNET].latency.median_ms
    assert result.ratio("ours", "somebody else") is None
    text = comparison_page(result)
    assert "## Beside other denoisers: 1 image of 32 x 48, gray" in text
    (row,) = (line for line in text.splitlines() if line.startswith("| ours |"))
    assert f"| {ratio:.2f} |" in row
    assert row.count("|") == text.splitlines()[text.splitlines().index(row) - 1].count("|")


def test_color_images_have_peers_too():
    result = compare(
        {"ours": ffdnet(3).SerializeToString()}, (1, 16, 24, 3), threads=1, rounds=1, networks=(FFDNET, FFDNET_INT8)
    )
    assert list(result.denoisers) == [FFDNET, FFDNET_INT8, NLM, "ours"]
    assert result.denoisers["ours"].macs_per_pixel == result.denoisers[FFDNET].macs_per_pixel
    assert "1 image of 16 x 24, RGB" in comparison_page(result)


def test_without_opencv_it_is_left_out(blur_denoiser, monkeypatch):
    monkeypatch.setattr(comparison, "has_opencv", lambda: False)
    result = compare({"ours": blur_denoiser.SerializeToString()}, (1, 16, 16, 1), threads=1, rounds=1)
    assert NLM not in result.denoisers
    assert "| - |" in comparison_page(result)


def test_a_bundled_model_takes_the_place_of_random_weights(make_contract_file, monkeypatch):
    path = make_contract_file("toy", precision="int8", preset="edge-s")
    monkeypatch.setattr(networks, "EDGE_PRESETS", ("edge-s",))
    for names, chosen in ((["toy"], "toy"), (["document", "gray"], "gray")):
        monkeypatch.setattr(comparison, "bundled_models", lambda names=names: dict.fromkeys(names, path))
        assert comparison.edge_models() == {f"edge-s, INT8 (bundled model {chosen})": path.read_bytes()}
    assert compared_shape(path.read_bytes()) == (1, 512, 512, 1)


def test_the_command_times_only_the_residual_networks(monkeypatch, keras):
    monkeypatch.setattr(comparison, "bundled_models", dict)
    monkeypatch.setattr(networks, "EDGE_PRESETS", ("edge-s",))
    monkeypatch.setattr(bench, "_import_frameworks", lambda threads: None)  # TensorFlow runs in this process already
    arguments = ["--edge-only", "--threads", "1", "--rounds", "1", "--size", "1", "32", "32"]
    finished = CliRunner().invoke(bench.command, arguments, catch_exceptions=False)
    assert finished.exit_code == 0
    assert finished.output.startswith("# Our networks beside other denoisers")
    assert "| edge-s, INT8 (random weights) |" in finished.output
    refused = CliRunner().invoke(bench.command, ["--edge-only", "."])
    assert refused.exit_code == 2
    assert "leave out one of them" in refused.output
