"""Sources: run directories and .keras files, and one clear error for each that is unusable."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dae_export.errors import ConversionError, KerasFileError
from dae_export.source import KerasModel, find_source, load
from dae_export.source.convert import convert
from dae_runtime.errors import DaeError


@pytest.fixture(scope="module")
def conv(keras: Any) -> Callable[..., Any]:
    def make(filters: int = 1, kernel: int = 3, **options: Any) -> Any:
        return keras.layers.Conv2D(filters, kernel, padding="same", **options)

    return make


def test_a_run_directory_describes_its_model(tmp_path, make_run):
    source = find_source(make_run(tmp_path / "first"))
    assert (source.name, source.preset, source.noise) == ("first", "v2", "gaussian:0.1")
    assert source.model == tmp_path / "first" / "model.keras"
    assert source.calibration_path == tmp_path / "first" / "calibration.npz"
    assert source.folder == tmp_path / "first"


def test_a_keras_file_has_its_name_and_no_noise(tmp_path, make_model, conv):
    make_model(conv(1)).save(tmp_path / "mine.keras")
    source = find_source(tmp_path / "mine.keras")
    assert (source.name, source.preset, source.noise) == ("mine", None, "unknown")
    assert source.calibration_path is None
    assert load(source).name == "net"


def test_a_loaded_model_computes_what_was_saved(tmp_path, make_run, make_v2):
    model = make_v2(filters=(4, 4, 8), batch_norm=True, dropout=True)
    loaded = load(find_source(make_run(tmp_path, model)))
    noisy = np.random.default_rng(0).random((2, 8, 12, 1), np.float32)
    np.testing.assert_array_equal(loaded(noisy), np.asarray(model(noisy, training=False)))
    assert (loaded.channels, loaded.fixed_size) == (1, None)


def test_a_model_trained_in_mixed_precision_computes_in_float32(tmp_path, keras, make_v2):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        mixed = make_v2(filters=(4, 4, 8), batch_norm=True)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    plain = make_v2(filters=(4, 4, 8), batch_norm=True)
    mixed.save(tmp_path / "mixed.keras")
    noisy = np.random.default_rng(0).random((1, 8, 8, 1), np.float32)
    loaded = load(find_source(tmp_path / "mixed.keras"))
    np.testing.assert_allclose(loaded(noisy), np.asarray(plain(noisy, training=False)), atol=1e-6)


def test_the_probe_size_suits_every_stride_and_is_not_square(keras, make_model, conv):
    def net(x: Any) -> Any:
        x = conv(2, strides=3)(keras.layers.MaxPooling2D(2)(x))
        return keras.layers.UpSampling2D(6)(conv(1)(x))

    height, width = KerasModel(make_model(net), "net").probe_size
    assert height % 6 == width % 6 == 0
    assert height != width


def refused(path: Path, words: str, error: type[DaeError] = KerasFileError) -> None:
    with pytest.raises(error, match=words) as caught:
        load(find_source(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_invalid_sources_are_refused(tmp_path, make_run):
    refused(tmp_path / "missing", "does not exist")
    (tmp_path / "model.h5").write_bytes(b"")
    refused(tmp_path / "model.h5", r"received \.h5")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", r"no run\.toml", DaeError)
    run = make_run(tmp_path / "run")
    (run / "model.keras").unlink()
    refused(run, r"no model\.keras")
    (run / "run.toml").write_text("[model", "utf-8")
    refused(run, "cannot be read", DaeError)


def test_damaged_files_are_refused(tmp_path, make_run):
    whole = (make_run(tmp_path / "run") / "model.keras").read_bytes()
    for name, content in {"empty": b"", "text": b"hello", "half": whole[: len(whole) // 2]}.items():
        (tmp_path / f"{name}.keras").write_bytes(content)
        refused(tmp_path / f"{name}.keras", "not a zip archive")
    middle = len(whole) // 2
    (tmp_path / "flipped.keras").write_bytes(whole[:middle] + b"\x55" * 64 + whole[middle + 64 :])
    refused(tmp_path / "flipped.keras", "cannot be loaded")


@pytest.mark.parametrize("filters", [2**30, 10**4000])
def test_a_network_of_more_weights_than_the_file_holds_is_refused_before_it_is_made(
    tmp_path, keras, make_model, conv, filters, monkeypatch
):
    make_model(lambda image: conv(1)(conv(77)(image))).save(tmp_path / "good.keras")
    load(find_source(tmp_path / "good.keras"))
    with zipfile.ZipFile(tmp_path / "good.keras") as good, zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, good.read(name).replace(b'"filters": 77', b'"filters": %d' % filters))
    monkeypatch.setattr(keras.models, "load_model", None)
    with pytest.raises(KerasFileError, match=r"bad\.keras describes a network of .* weights"):
        load(find_source(tmp_path / "bad.keras"))


def test_custom_objects_are_refused_by_name(tmp_path, keras, make_model, conv):
    @keras.saving.register_keras_serializable()
    class Sharpen(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    make_model(lambda x: conv(1)(Sharpen()(x))).save(tmp_path / "custom.keras")
    del keras.saving.get_custom_objects()["Custom>Sharpen"]
    refused(tmp_path / "custom.keras", "'Sharpen', which is not part of Keras")
    make_model(lambda x: conv(1)(keras.layers.Lambda(lambda y: y * 2)(x))).save(tmp_path / "lambda.keras")
    refused(tmp_path / "lambda.keras", "Lambda layer")


def test_models_that_are_no_denoisers_are_refused(keras, make_model, conv):
    def check(model: Any, words: str) -> None:
        with pytest.raises(KerasFileError, match=words):
            KerasModel(model, "test.keras")

    first, second = keras.Input((None, None, 1)), keras.Input((None, None, 1))
    check(keras.Model([first, second], keras.layers.Add()([first, second])), "has 2 and 1")
    check(keras.Model(first, [conv(1)(first), conv(1)(first)]), "has 1 and 2")
    check(make_model(conv(2)), r"returns \(1, 16, 24, 2\)")
    check(make_model(conv(1, strides=2)), r"returns \(1, 8, 12, 1\)")
    check(make_model(keras.layers.UpSampling2D(2)), r"returns \(1, 32, 48, 1\)")
    check(make_model(conv(2), (None, None, 2)), r"received \(None, None, None, 2\)")
    check(make_model(conv(1), (28, None, 1)), r"received \(None, 28, None, 1\)")
    check(make_model(keras.layers.Dense(4), (4,)), r"received \(None, 4\)")


def test_a_layer_without_an_onnx_form_is_refused_by_name(keras, make_model, conv):
    model = make_model(lambda x: keras.ops.erfinv(conv(1)(x)))
    with pytest.raises(ConversionError, match=r"test\.keras cannot be converted to ONNX: .*Erfinv"):
        convert(KerasModel(model, "test.keras"))
