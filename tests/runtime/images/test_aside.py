"""Images in a forked child whose parent has read or written one come out as in any process."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
import pyvips

from builders import damaged_copies, random_pixels
from child import children, image_process, in_child
from dae_runtime import FolderRequest, ImageError, InputError, run_folder
from dae_runtime.images import Image, decode, encode, lost_metadata, read_image, read_image_bytes, write_image
from dae_runtime.images.codec import Decoded
from raw_files import WHITE, dng

from .test_kept import joined

pytestmark = pytest.mark.slow
EXIF = b"II*\0\x08\0\0\0\x01\0\x3b\x01\x02\0\x04\0\0\0Ann\0\0\0\0\0"
COMMON = {"exif-data": EXIF, "icc-profile-data": bytes(128), "xmp-data": b"<x:xmpmeta/>", "xres": 3.0, "yres": 3.0}
COLORS = random_pixels((48, 60, 3))
DEEP = random_pixels((48, 60, 4), np.uint16)
TIMES = {**COMMON, "delay": [50, 60, 70], "loop": 2}


def raw() -> bytes:
    return dng(random_pixels((48, 64), np.uint16) % WHITE)


def heic() -> bytes:
    target = BytesIO()
    pillow_heif.from_bytes(mode="RGB", size=(60, 48), data=COLORS.tobytes()).save(target, quality=90)
    return target.getvalue()


def gif() -> bytes:
    return bytes(pyvips.Image.new_from_array(COLORS).gifsave_buffer())


def floats() -> bytes:
    return bytes(pyvips.Image.new_from_array(np.linspace(-3, 5, 60 * 48, dtype=np.float32).reshape(48, 60)).tiffsave_buffer())


def different_pages() -> bytes:
    return joined([encode(COLORS, "tiff", COMMON), encode(DEEP[:20, :80, 0], "tiff"), encode(DEEP[:30], "tiff")])


FILES: dict[str, Callable[[], bytes]] = {
    "png": lambda: encode(COLORS, "png", COMMON),
    "png of 16 bits with alpha": lambda: encode(DEEP, "png"),
    "jpeg": lambda: encode(COLORS, "jpeg", COMMON),
    "gray jpeg": lambda: encode(COLORS[..., 0], "jpeg"),
    "animation": lambda: encode(COLORS, "webp", TIMES, pages=3),
    "tiff of 16 bits": lambda: encode(DEEP[..., :3], "tiff", COMMON),
    "pages": lambda: encode(COLORS, "tiff", COMMON, pages=4),
    "different pages": different_pages,
    "floats": floats,
    "avif": lambda: encode(DEEP[..., :3], "avif", COMMON),
    "gif": gif,
    "heic": heic,
    "raw": raw,
    "pnm": lambda: encode(COLORS, "pnm"),
    "bmp": lambda: encode(COLORS, "bmp"),
}
ALL_KINDS = ("png", "jpeg", "tiff", "webp", "avif")
KINDS = {
    "png of 16 bits with alpha": ("png", "tiff", "webp", "avif"),
    "animation": ("webp", "tiff"),
    **dict.fromkeys(("pages", "different pages", "floats"), ("tiff",)),
}
"""Kinds that hold a file, where not all do."""
RANGE = (-3.0, 5.0)


def with_file(content: bytes, work: Callable[[int], Any]) -> Any:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return work(file.fileno())


def written(image: Decoded, kind: str, quality: int | None) -> tuple[bytes, bytes, tuple[str, ...], tuple[str, ...]]:
    """Return what is written to memory and to a file, and what each lacks."""

    def save(target: int) -> tuple[bytes, tuple[str, ...]]:
        assert encode(image.pixels, kind, image.metadata, pages=image.pages, target=target, quality=quality) == b""
        with open(target, "rb", closefd=False) as file:
            file.seek(0)
            return file.read(), lost_metadata(image.metadata, kind, target)

    content = encode(image.pixels, kind, image.metadata, pages=image.pages, quality=quality)
    saved, lost = with_file(b"", save)
    return content, saved, lost_metadata(image.metadata, kind, content), lost


def check_equal(image: Decoded, expected: Decoded) -> None:
    np.testing.assert_array_equal(image.pixels, expected.pixels)
    assert image.pixels.dtype == expected.pixels.dtype
    assert image.pixels.flags.c_contiguous
    assert image.pixels.flags.writeable == expected.pixels.flags.writeable
    assert type(image.metadata) is type(expected.metadata)
    assert image.metadata == expected.metadata
    for name in ("kind", "pages", "has_more_images"):
        assert getattr(image, name) == getattr(expected, name)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_and_written_as_in_any_process(name):
    content = FILES[name]()
    expected = decode(content, value_range=RANGE)
    quality = 80 if name == "jpeg" else None
    outputs = {kind: written(expected, kind, quality) for kind in KINDS.get(name, ALL_KINDS)}

    def compare() -> int:
        check_equal(decode(content, value_range=RANGE), expected)
        check_equal(with_file(content, lambda file: decode(file, value_range=RANGE)), expected)
        for kind, output in outputs.items():
            assert written(expected, kind, quality) == output, kind
        return len(children())

    assert in_child(compare) == 1


def error_of(work: Callable[[], Any]) -> tuple[type[BaseException], str]:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - it is compared
        work()
    return caught.type, str(caught.value)


def mistakes(folder: Path) -> list[Callable[[], Any]]:
    """Return what fails in many ways."""
    made: list[Callable[[], Any]] = []
    for name in ("png", "jpeg", "animation", "tiff of 16 bits", "avif", "gif", "heic", "raw"):
        content = FILES[name]()
        half = content[: len(content) // 2]
        (folder / name).write_bytes(half)
        made += [lambda half=half: decode(half), lambda name=name: read_image(folder / name)]
        made += [lambda content=content: decode(content, max_pixels=100)]
    animated = bytes(pyvips.Image.new_from_array(COLORS).copy().gifsave_buffer(page_height=24))
    printed = bytes(
        pyvips.Image.new_from_array(DEEP[..., :4] // 256).cast("uchar").copy(interpretation="cmyk").tiffsave_buffer()
    )
    measured, png = floats(), encode(COLORS, "png")
    wide = np.zeros((1, 20000, 3), np.uint8)
    return [
        *made,
        lambda: decode(animated),
        lambda: decode(printed),
        lambda: decode(measured),
        lambda: decode(measured, value_range=(0, 1)),
        lambda: decode(png, max_pixels=-1),
        lambda: decode(999_999),
        lambda: encode(COLORS, "png", target=999_999),
        lambda: encode(wide, "webp"),
        lambda: encode(COLORS, "gif"),
        lambda: encode(np.zeros((0, 5, 3), np.uint8), "png"),
        lambda: read_image_bytes("a.nef", png),
        lambda: write_image(folder / "none" / "a.png", Image(COLORS)),
        lambda: write_full("png"),
        lambda: write_full("jpeg"),
        lambda: write_full("tiff"),
    ]


def write_full(kind: str) -> None:
    with Path("/dev/full").open("r+b", buffering=0) as full:
        encode(random_pixels((500, 600, 3)), kind, target=full.fileno())


def test_an_error_is_that_of_any_process(tmp_path):
    failing = mistakes(tmp_path)
    expected = [error_of(work) for work in failing]
    assert {kind for kind, _ in expected} >= {ImageError, InputError, OSError}
    assert in_child(lambda: [error_of(work) for work in failing]) == expected
    assert in_child(lambda: error_of(failing[0])) == expected[0]


def test_damaged_bytes_end_in_an_image_or_the_error_of_any_process():
    def outcome(content: bytes) -> tuple[Any, ...]:
        try:
            image = decode(content, max_pixels=10**6)
        except ImageError as error:
            return (str(error),)
        return image.pixels.shape, image.pixels.tobytes()

    copies = [copy for kind in ("jpeg", "animation") for copy in damaged_copies(FILES[kind](), 20)]
    assert in_child(lambda: list(map(outcome, copies))) == list(map(outcome, copies))


class TooLargeError(Exception):
    """An error of the program, which the image process knows nothing of."""


@pytest.mark.parametrize("name", ["png", "different pages", "heic", "raw", "pnm"])
def test_the_callback_is_called_here_and_may_raise_anything(name):
    content = FILES[name]()
    expected: list[int] = []
    decode(content, before_allocate=expected.append)

    def work() -> tuple[list[int], list[str]]:
        counts: list[int] = []
        decode(content, before_allocate=counts.append)
        words = []
        for error in (
            TooLargeError("no room"),
            KeyboardInterrupt("stopped"),
            OSError(28, "full"),
            EOFError("end"),
            RuntimeError("x"),
        ):

            def refuse(_count: int, error: BaseException = error) -> None:
                raise error

            with pytest.raises(type(error)) as caught:
                decode(content, before_allocate=refuse)
            assert name == "pnm" or caught.value is error
            words.append(str(caught.value))
        before = children()
        decode(content)
        assert children() == before
        return counts, words

    assert in_child(work) == (expected, ["no room", "stopped", "[Errno 28] full", "end", "x"])


def test_a_callback_may_wait_for_another_image_to_be_written():
    content = FILES["png"]()

    def work() -> bytes:
        outputs = []
        writer = threading.Thread(target=lambda: outputs.append(encode(COLORS, "tiff")))

        def wait(_count: int) -> None:
            writer.start()
            writer.join()

        decode(content, before_allocate=wait)
        return outputs[0]

    assert in_child(work) == encode(COLORS, "tiff")


def test_threads_of_a_child():
    contents = [FILES[name]() for name in ("png", "jpeg", "animation", "avif")] * 10
    expected = [decode(content) for content in contents]

    def work() -> int:
        image_process()
        with ThreadPoolExecutor(8) as pool:
            for image, other in zip(pool.map(decode, contents), expected, strict=True):
                check_equal(image, other)
        return len(children())

    assert in_child(work) == 1


def test_large_images(tmp_path):
    pixels = random_pixels((3000, 4000, 3), np.uint16)
    write_image(tmp_path / "a.tif", Image(pixels))

    def work() -> bool:
        image = read_image(tmp_path / "a.tif")
        write_image(tmp_path / "b.tif", image)
        return (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes() and (image.pixels == pixels).all()

    assert in_child(work)


def test_views_of_arrays_are_written():
    views = [COLORS[::-1, ::-1], COLORS[..., ::-1], np.asfortranarray(COLORS), np.ascontiguousarray(COLORS[..., 0]).T]
    views[-1].flags.writeable = False
    expected = [encode(view, "png") for view in views]
    assert in_child(lambda: [encode(view, "png") for view in views]) == expected


def test_a_folder_run_in_a_child(tmp_path, blur, blur_file):
    for number, suffix in enumerate((".png", ".jpg", ".tif", ".webp", ".avif", ".ppm") * 3):
        path = tmp_path / "in" / f"{number}{suffix}"
        path.parent.mkdir(exist_ok=True)
        write_image(path, Image(random_pixels((40, 50, 3), seed=number)))
    (tmp_path / "in" / "bad.png").write_bytes(FILES["png"]()[:100])

    def run(name: str) -> tuple[int, int, dict[str, bytes]]:
        request = FolderRequest(tmp_path / "in", tmp_path / name, report=tmp_path / f"{name}.html", max_memory_mb=300)
        outcome = run_folder(request, blur)
        files = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir() if path.suffix != ".jsonl"}
        return outcome.done, outcome.failed, files

    expected = run("here")
    assert expected[:2] == (18, 1)
    assert in_child(lambda: run("child")) == expected
