"""Tiles: an image in pieces gives what the whole image gives."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import pickle
import re
import tracemalloc

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from dae_runtime import Denoiser, DeviceError, InputError
from dae_runtime.contract import METADATA_KEY, Calibration, Contract, Golden, Parity, to_json
from dae_runtime.errors import CancelledError
from dae_runtime.inference import limits as memory
from dae_runtime.inference.limits import Limits, bytes_per_pixel, is_shortage, memory_limits
from dae_runtime.inference.tiles import plan_tiles, smallest_tile

HALO_PX = 7
LAYERS = (
    # kind, output channels, stride: an encoder and a decoder with a transposed convolution, as `same` padding gives them
    ("Conv", 4, 1),
    ("Conv", 6, 2),
    ("Conv", 6, 1),
    ("ConvTranspose", 4, 2),
    ("Conv", 1, 1),
)


def build(precision: str, halo_px: int | None = HALO_PX) -> bytes:
    """Build a small encoder and decoder with random weights; halo: 1 + 2 + 2 + 2 pixels at most."""
    rng = np.random.default_rng(3)
    nodes, tensors, last, channels = [], [], "noisy", 1

    def add(kind, *inputs, **attributes):
        nonlocal last
        nodes.append(helper.make_node(kind, [last, *inputs], [f"t{len(nodes)}"], **attributes))
        last = nodes[-1].output[0]

    def constant(value):
        tensors.append(numpy_helper.from_array(np.asarray(value), f"c{len(tensors)}"))
        return tensors[-1].name

    def quantized():
        if precision == "int8":
            ends = constant(np.float32(1 / 64)), constant(np.uint8(64))
            add("QuantizeLinear", *ends)
            add("DequantizeLinear", *ends)

    add("Transpose", perm=[0, 3, 1, 2])
    for kind, count, stride in LAYERS:
        quantized()
        shape = (count, channels, 3, 3) if kind == "Conv" else (channels, count, 3, 3)
        weights = rng.normal(0, 0.8 / np.sqrt(9 * channels), shape).astype(np.float32)
        pads = [1, 1, 1, 1] if stride == 1 else [0, 0, 1, 1]
        add(kind, constant(weights), kernel_shape=[3, 3], strides=[stride, stride], pads=pads)
        if kind == "ConvTranspose" or count > 1:
            add("LeakyRelu", alpha=0.3)
        channels = count
    add("Sigmoid")
    add("Transpose", perm=[0, 2, 3, 1])
    nodes[-1].output[0] = "denoised"
    edges = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", "H", "W", 1]) for n in ("noisy", "denoised")]
    graph = helper.make_graph(nodes, "net", [edges[0]], [edges[1]], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return _with_contract(model, precision, halo_px)


def _with_contract(model: onnx.ModelProto, precision: str, halo_px: int | None) -> bytes:
    noisy = np.random.default_rng(0).random((1, 8, 8, 1), np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    golden = Golden((1, 8, 8, 1), noisy.tobytes(), session.run(None, {"noisy": noisy})[0].tobytes(), 1e-5)
    contract = Contract(
        name="net",
        preset="test",
        channels=1,
        io_dtype="float32",
        height_px=None,
        width_px=None,
        alignment_px=2,
        halo_px=halo_px,
        noise="gaussian:0.1",
        precision=precision,
        parity=Parity(0.0, 1e-5, ((1, 8, 8, 1),)),
        golden=golden,
        calibration=Calibration("minmax", 8, "random pixels") if precision == "int8" else None,
    )
    helper.set_model_props(model, {METADATA_KEY: to_json(contract)})
    return model.SerializeToString()


@pytest.fixture(scope="module", params=["fp32", "int8"])
def network(request) -> tuple[str, Denoiser, dict[int, Denoiser]]:
    """Precision, the network on whole images, and on tiles by their size."""
    content = build(request.param)
    tiled = {side: Denoiser(content, "cpu", 1, tile_px=side) for side in (32, 64, 100)}
    return request.param, Denoiser(content, "cpu", 1), tiled


@given(
    size=st.tuples(st.integers(1, 230), st.integers(1, 230)),
    channels=st.sampled_from([(), (1,), (3,), (4,)]),
    side=st.sampled_from([32, 64, 100]),
    dtype=st.sampled_from([np.uint8, np.float32]),
)
@settings(max_examples=60, deadline=None)
def test_tiled_is_untiled(network, size, channels, side, dtype):
    precision, whole, tiled = network
    image = np.random.default_rng(0).random((*size, *channels), np.float32)
    image = image if dtype == np.float32 else (image * 255).astype(np.uint8)
    expected, received = whole.denoise(image), tiled[side].denoise(image)
    if precision == "int8":
        np.testing.assert_array_equal(received, expected)
    else:  # integers may step where the rounding of float arithmetic differs
        np.testing.assert_allclose(received.astype(float), expected, atol=1e-6 if dtype == np.float32 else 1, rtol=0)


def test_the_network_is_one_that_shows_a_halo_too_small():
    image = np.random.default_rng(0).random((90, 90), np.float32)
    content = build("fp32", halo_px=1)
    difference = np.abs(Denoiser(content, "cpu", 1, tile_px=32).denoise(image) - Denoiser(content, "cpu", 1).denoise(image))
    assert difference.max() > 1e-4


@pytest.mark.parametrize("batch", [1, 3])
def test_images_above_the_default_size_are_tiled_and_equal(batch):
    content = build("int8")
    whole, tiled = Denoiser(content, "cpu", 2), Denoiser(content, "cpu", 2)
    whole._first.limits = Limits(2**24, None, 2**24)
    shapes = record_shapes(tiled)
    image = np.random.default_rng(1).random((batch, 700, 1030, 1), np.float32)
    np.testing.assert_array_equal(tiled.denoise(image), whole.denoise(image))
    assert len(set(shapes)) == 1
    assert max(shapes[0][1:3]) <= 512
    assert len(shapes) == 6 * batch


def record_shapes(denoiser: Denoiser) -> list[tuple[int, ...]]:
    """Return a list that gets the shape of each run of the engine."""
    shapes: list[tuple[int, ...]] = []
    run = denoiser._first._run
    denoiser._first._run = lambda batch: shapes.append(batch.shape) or run(batch)
    return shapes


def test_tiles_run_as_batches():
    denoiser = Denoiser(build("int8"), "cpu", 1)
    image = np.random.default_rng(1).random((200, 200), np.float32)
    expected = denoiser.denoise(image)
    denoiser._first.limits = Limits(4 * 64**2, 64, 64**2)
    shapes = record_shapes(denoiser)
    np.testing.assert_array_equal(denoiser.denoise(image), expected)
    assert [shape[0] for shape in shapes] == [4] * (len(shapes) - 1) + [shapes[-1][0]]
    assert len(shapes) > 3


@given(
    length=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    largest=st.integers(1, 600),
    alignment=st.sampled_from([1, 2, 4, 6, 8, 64]),
    halo=st.integers(0, 60),
)
@settings(max_examples=300, deadline=None)
def test_tiles_cover_the_image_once_with_their_halo(length, largest, alignment, halo):
    tiling = plan_tiles(length, largest, alignment, halo)
    limit = max(largest, smallest_tile(alignment, halo))
    for size, side, spans in zip(length, (tiling.height_px, tiling.width_px), (tiling.rows, tiling.columns), strict=True):
        assert side <= limit
        assert side % alignment == 0
        padded = -(-size // alignment) * alignment
        assert [span.keep_px for span in spans] == [0, *(span.end_px for span in spans[:-1])]
        assert spans[-1].end_px == size
        for span in spans:
            assert span.start_px % alignment == 0
            assert span.keep_px < span.end_px
            assert span.start_px == 0 or span.keep_px - span.start_px >= halo
            assert span.start_px + side == padded or span.start_px + side - span.end_px >= halo
            assert 0 <= span.start_px <= padded - side


def test_sizes_of_tiles_are_few():
    """A thousand image sizes need no more than a dozen shapes per axis: the engine plans its memory anew for each."""
    sides = {plan_tiles((size, size), 512, 4, 8).height_px for size in range(1000, 2000)}
    assert len(sides) <= 12
    wasted = [plan_tiles((s, s), 512, 4, 8) for s in range(1000, 2000, 7)]
    areas = [len(t.rows) * t.height_px / size for t, size in zip(wasted, range(1000, 2000, 7), strict=True)]
    assert max(areas) < 1.15


@pytest.mark.parametrize(
    ("options", "words"),
    [({"tile_px": 16}, "needs 32"), ({"max_memory_mb": 0}, "at least [1-9]"), ({"tile_px": -1}, "needs 32")],
)
def test_impossible_limits_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        Denoiser(build("fp32"), "cpu", 1, **options)


def test_a_model_that_sees_everything_is_not_tiled():
    content = build("fp32", halo_px=None)
    for options in ({"tile_px": 64}, {"max_memory_mb": 100}):
        with pytest.raises(InputError, match="whole image"):
            Denoiser(content, "cpu", 1, **options)
    denoiser = Denoiser(content, "cpu", 1)
    shapes = record_shapes(denoiser)
    denoiser.denoise(np.zeros((1000, 1100), np.uint8))
    assert shapes == [(1, 1000, 1100, 1)]


def test_a_memory_limit_decides_the_tile(monkeypatch):
    denoiser = Denoiser(build("fp32"), "cpu", 1, max_memory_mb=20)
    need = bytes_per_pixel(lambda pixels: pixels, 1024, 2**23)
    limits = memory_limits(denoiser.model.images, Limits(2**18, 512, 2**19), need, 20)
    assert limits.run_px * need <= 0.4 * 20 * 2**20
    assert limits.tile_px**2 <= limits.run_px
    image = np.random.default_rng(1).random((500, 700), np.float32)
    np.testing.assert_allclose(denoiser.denoise(image), Denoiser(build("fp32"), "cpu", 1).denoise(image), atol=1e-6)


class _Broken:
    """An engine whose memory ends at a number of pixels; the text is onnxruntime's."""

    def __init__(self, denoiser: Denoiser, most_px: int) -> None:
        self.run, self.most_px = denoiser._first._run, most_px

    def __call__(self, batch):
        if batch[..., 0].size > self.most_px:
            cause = RuntimeError(
                "[ONNXRuntimeError] : 6 : bfc_arena.cc Failed to allocate memory for requested buffer of size 9"
            )
            raise DeviceError("onnxruntime failed") from cause
        return self.run(batch)


def test_a_shortage_halves_the_tile_and_goes_on(caplog):
    denoiser = Denoiser(build("int8"), "cpu", 1)
    image = np.random.default_rng(1).random((900, 900), np.float32)
    expected = denoiser.denoise(image)
    denoiser._first._run = _Broken(denoiser, 200**2)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(denoiser.denoise(image), expected)
    assert [record.getMessage().split()[-2] for record in caplog.records] == ["256", "128"]
    assert denoiser.denoise(image[:300]).shape == (300, 900)  # without another failure
    assert len(caplog.records) == 2
    denoiser._first._run = _Broken(denoiser, 10)
    with pytest.raises(DeviceError):
        denoiser.denoise(image)


def test_a_shortage_of_a_model_that_cannot_be_tiled_says_so():
    denoiser = Denoiser(build("fp32", halo_px=None), "cpu", 1)
    denoiser._first._run = _Broken(denoiser, 10)
    with pytest.raises(DeviceError, match="smaller images"):
        denoiser.denoise(np.zeros((100, 100), np.uint8))


def test_real_shortage_under_an_address_space_limit(tmp_path, run_python):
    """A process that may grow by 60 MiB finishes an image whose run would need more at once."""
    (tmp_path / "net.onnx").write_bytes(build("fp32"))
    code = (
        "import logging, resource, sys, numpy as np\n"
        "from dae_runtime import Denoiser\n"
        "logging.basicConfig()\n"
        f"denoiser = Denoiser({str(tmp_path / 'net.onnx')!r}, 'cpu', 1, tile_px=1536)\n"
        "image = np.random.default_rng(0).random((1536, 1600), np.float32)\n"
        "denoiser.denoise(image[:64, :64])\n"
        "size = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size + 60 * 2**20,) * 2)\n"
        "clean = denoiser.denoise(image)\n"
        "print(float(clean.mean()), denoiser._first.limits.tile_px)"
    )
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr
    mean, tile = result.stdout.split()
    assert int(tile) < 1536
    assert "memory ran out" in result.stderr
    image = np.random.default_rng(0).random((1536, 1600), np.float32)
    assert float(mean) == pytest.approx(Denoiser(build("fp32"), "cpu", 2).denoise(image).mean(), abs=1e-6)


def test_what_counts_as_a_shortage():
    assert is_shortage(MemoryError())
    for text in ("std::bad_alloc", "CUDA failure 2: out of memory", "Failed to allocate memory for requested buffer"):
        error = DeviceError("failed. If memory ran out, give smaller images.")
        error.__cause__ = RuntimeError(text)
        assert is_shortage(error)
    error = DeviceError("failed. If memory ran out, give smaller images.")
    error.__cause__ = RuntimeError("Non-zero status code returned while running Conv node: shapes differ")
    assert not is_shortage(error)


def test_limits_shrink_to_the_smallest_tile_and_end_there():
    limits = Limits(2**18, 512, 2**19)
    sides = []
    while limits := limits.halved(64):
        sides.append(limits.tile_px)
    assert sides == [256, 128, 64]
    assert dataclasses.asdict(Limits(100, None, 5)) == {"run_px": 100, "tile_px": None, "tile_above_px": 5}
    assert list(itertools.pairwise(sides)) == [(256, 128), (128, 64)]


@pytest.fixture(scope="module")
def window_blur(make_model) -> Denoiser:
    """A blur that takes windows of 28 x 28 only, and darkens their edges, where it sees zeros."""
    return Denoiser(make_model(size=(28, 28)), "cpu", 1)


@pytest.mark.parametrize("size", [(28, 100), (100, 90), (29, 300), (141, 57)])
def test_windows_of_a_fixed_size_leave_no_seam(window_blur, blur, size):
    down, across = np.meshgrid(np.linspace(0, 5, size[0]), np.linspace(0, 7, size[1]), indexing="ij")
    smooth = (0.5 + 0.4 * np.sin(down) * np.cos(across)).astype(np.float32)
    half_a_step = 0.5 / 255  # what an 8-bit picture cannot show
    for image in (np.full(size, 0.8, np.float32), smooth):
        inside = (window_blur.denoise(image) - blur.denoise(image))[1:-1, 1:-1]
        assert np.abs(inside).max() < half_a_step


def test_windows_need_no_memory_for_the_whole_image_in_float(window_blur):
    image = np.random.default_rng(0).integers(0, 256, (6000, 300), np.uint8)
    window_blur.denoise(image[:100])
    tracemalloc.start()
    window_blur.denoise(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < image.nbytes + 2**20


def test_tiles_need_no_memory_for_the_whole_image_in_float(blur_bytes):
    denoiser = Denoiser(blur_bytes, "cpu", 1, max_memory_mb=20)
    image = np.random.default_rng(0).integers(0, 256, (3000, 3000), np.uint8)
    tracemalloc.start()
    denoiser.denoise(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < image.nbytes + 4 * 2**20


@pytest.mark.parametrize("shape", [(40, 3000), (40, 3000, 3), (2000, 3, 3, 1), (90, 60, 20, 3), (300, 28, 28, 3)])
def test_a_memory_limit_decides_the_number_of_windows(make_model, window_blur, shape):
    limited = Denoiser(make_model(size=(28, 28)), "cpu", 1, max_memory_mb=10)
    most = limited._first.limits.run_px // 28**2
    assert 1 < most <= 0.4 * 10 * 2**20 / 256 / 28**2  # what is assumed at least of a pixel
    shapes = record_shapes(limited)
    image = np.random.default_rng(0).random(shape, np.float32)
    np.testing.assert_allclose(limited.denoise(image), window_blur.denoise(image), atol=1e-6)
    assert max(batch[0] for batch in shapes) <= most
    assert sum(batch[0] for batch in shapes) > most


@pytest.mark.parametrize("size", [None, (28, 28), (600, 600)])
def test_the_least_memory_that_would_do_is_named_and_does(make_model, size):
    content = make_model(size=size)
    with pytest.raises(InputError, match=r"at least [1-9]\d* for this model, not 0") as caught:
        Denoiser(content, "cpu", 1, max_memory_mb=0)
    least = int(re.search(r"at least (\d+)", str(caught.value))[1])
    denoiser = Denoiser(content, "cpu", 1, max_memory_mb=least)
    assert denoiser.denoise(np.zeros((50, 70), np.uint8)).shape == (50, 70)


def test_measuring_stays_within_the_memory_it_is_for(monkeypatch):
    """An engine of 100 KiB and 1000 bytes per pixel."""
    held, runs = [0], []

    def run(pixels: int) -> int:
        runs.append(pixels)
        held[0] = max(held[0], 100 * 2**10 + 1000 * pixels)
        return pixels

    monkeypatch.setattr(memory, "resident_bytes", lambda: held[0])
    for budget in (2 * 2**20, 8 * 2**20, 2**30):
        held[0] = 0
        runs.clear()
        need = bytes_per_pixel(run, 1024, budget)
        assert 1000 <= need <= 1100
        assert held[0] <= budget
        assert max(runs) <= memory.PROBE_PX
    monkeypatch.setattr(memory, "resident_bytes", lambda: None)
    assert bytes_per_pixel(run, 1024, 2**20) == memory.UNMEASURED_BYTES_PER_PIXEL


def test_windows_results_stay_within_black_and_white(window_blur):
    clean = window_blur.denoise(np.full((200, 190, 3), 1.5, np.float32))
    assert clean.max() == 1


def test_cancelling_windows(window_blur):
    asked = itertools.count()
    with pytest.raises(CancelledError):
        window_blur.denoise(np.zeros((6000, 30), np.uint8), cancel=lambda: next(asked) == 5)
    assert next(asked) == 6


def test_limits_survive_pickling():
    denoiser = Denoiser(build("fp32"), "cpu", 1, tile_px=64)
    assert pickle.loads(pickle.dumps(denoiser))._first.limits == denoiser._first.limits
