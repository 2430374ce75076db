"""The choice of form: candidates, the fastest, and failing rewrites, which never stop an export."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest

from dae_export.errors import ParityError
from dae_export.measure import tune
from dae_export.measure.latency import Latency
from dae_export.product import choose_float, choose_integer
from dae_export.product import variants as forms
from dae_export.product.variants import FLOAT_REFERENCE, rewritten
from dae_export.rewrites import CANONICAL, FLOAT_CANDIDATES, INTEGER_CANDIDATES
from dae_export.rewrites.recipe import PHASES, ROWS
from dae_export.source import KerasModel, Network, read_network
from dae_runtime.errors import ModelError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network(make_v2) -> Network:
    return read_network(KerasModel(make_v2(filters=(8, 8, 16)), "test"), 18)


def preferring(monkeypatch: pytest.MonkeyPatch, winner: str) -> None:
    """Let the clock say that one form is the fastest."""

    def measure(contenders, **_):
        for run in contenders.values():
            run()
        return {name: Latency(9.0, 1.0 if name == winner else 9.0) for name in contenders}

    monkeypatch.setattr(tune, "time_alternately", measure)


def test_the_fastest_form_is_taken_and_proved(network, monkeypatch):
    for recipe in FLOAT_CANDIDATES:
        preferring(monkeypatch, recipe.name)
        form = choose_float(network, 1e-5)
        assert form.name == recipe.name
        assert form.choice is not None
        assert set(form.choice.times) == {r.name for r in FLOAT_CANDIDATES}
        assert form.parity.max_abs_error <= 1e-5
    images = np.random.default_rng(0).random((1, 32, 32, 1), np.float32)
    for recipe in INTEGER_CANDIDATES:
        preferring(monkeypatch, recipe.name)
        form = choose_integer(network, images, 1e-5)
        assert form.name == recipe.name
        assert form.choice is not None
        assert set(form.choice.times) == {FLOAT_REFERENCE, *(r.name for r in INTEGER_CANDIDATES)}
        assert not any(node.op_type == "QuantizeLinear" for node in form.model.graph.node)


def test_a_form_that_is_hardly_faster_is_not_taken(network, monkeypatch):
    def measure(contenders, **_):
        return {name: Latency(1.0, 10.0 if name == "canonical" else 9.9) for name in contenders}

    monkeypatch.setattr(tune, "time_alternately", measure)
    assert choose_float(network, 1e-5).name == "canonical"


def test_without_rewrites_nothing_is_timed(network, monkeypatch):
    monkeypatch.setattr(tune, "time_alternately", None)
    form = choose_float(network, 1e-5, rewrite=False)
    assert (form.name, form.choice, form.model) == ("canonical", None, network.model)
    images = np.random.default_rng(0).random((1, 32, 32, 1), np.float32)
    assert choose_integer(network, images, 1e-5, rewrite=False).choice is None


def test_forms_that_are_alike_are_timed_once(make_model, keras):
    # No convolution, so nothing to rewrite.
    model = make_model(lambda x: keras.layers.UpSampling2D(2)(keras.layers.MaxPooling2D(2)(x)))
    network = read_network(KerasModel(model, "test"), 18)
    assert list(rewritten(network.model, FLOAT_CANDIDATES, network.images.alignment_px)) == ["canonical"]
    assert choose_float(network, 1e-5).choice is None


def test_a_rewrite_that_breaks_is_left_out_with_a_warning(network, monkeypatch, caplog):
    def broken(model: onnx.ModelProto, recipe, alignment_px: int) -> onnx.ModelProto:
        if recipe is PHASES:
            raise ValueError("an operator that nobody thought of")
        return apply(model, recipe, alignment_px)

    apply = forms.apply
    monkeypatch.setattr(forms, "apply", broken)
    with caplog.at_level(logging.WARNING):
        assert list(rewritten(network.model, FLOAT_CANDIDATES, 4)) == [CANONICAL.name, ROWS.name]
    assert "phases skipped: ValueError: an operator that nobody thought of" in caplog.text


def test_a_rewrite_that_computes_something_else_is_not_written(network, monkeypatch, caplog):
    def wrong(model: onnx.ModelProto, recipe, alignment_px: int) -> onnx.ModelProto:
        result = apply(model, recipe, alignment_px)
        if recipe is not CANONICAL:
            bias = next(t for t in result.graph.initializer if len(t.dims) == 1 and t.data_type == onnx.TensorProto.FLOAT)
            bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1, bias.name))
        return result

    apply = forms.apply
    monkeypatch.setattr(forms, "apply", wrong)
    preferring(monkeypatch, "rows")
    with caplog.at_level(logging.WARNING):
        form = choose_float(network, 1e-5)
    assert (form.name, form.choice, form.model) == ("canonical", None, network.model)
    assert "rows skipped: the exported graph differs" in caplog.text
    with pytest.raises(ParityError):
        choose_float(network, 1e-12)


def test_a_rewrite_that_cannot_run_is_left_out_with_a_warning(network, monkeypatch, caplog):
    def refusing(session, image):
        if session is refused[0]:
            raise ModelError("no such kernel")
        return run(session, image)

    def opening(content, device):
        session = open_session(content, device)
        refused[0] = session if content == bad else refused[0]
        return session

    run, open_session, refused = tune.run_session, tune.open_session, [None]
    bad = forms.apply(network.model, ROWS, 4).SerializeToString()
    monkeypatch.setattr(tune, "run_session", refusing)
    monkeypatch.setattr(tune, "open_session", opening)
    preferring(monkeypatch, "phases")
    with caplog.at_level(logging.WARNING):
        form = choose_float(network, 1e-5)
    assert form.name == "phases"
    assert form.choice is not None
    assert set(form.choice.times) == {"canonical", "phases"}
    assert "rows skipped: it cannot run: no such kernel" in caplog.text
