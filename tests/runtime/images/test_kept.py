"""What is read comes out, or is named: over formats and fields."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage

from builders import random_pixels
from dae_runtime.images import decode, encode, lost_metadata
from dae_runtime.images.exif import fitted
from dae_runtime.images.tags import Tag, pack_directory, read_directories

KINDS = ("png", "jpeg", "tiff", "webp")
LOSSLESS = ("png", "tiff")
NAMES = {
    "icc-profile-data": "color profile",
    "exif-data": "EXIF",
    "xmp-data": "XMP",
    "iptc-data": "IPTC",
    "xres": "resolution",
}
PIXELS = random_pixels((9, 7, 3))
blobs = st.binary(min_size=1, max_size=300)
quick = settings(max_examples=60, deadline=None)


def exif_block(artist=b"Ann Example\0", orientation=1, order="<"):
    """Return an EXIF block with an artist, an orientation, and an Exif directory with a lens."""
    entry = lambda tag, kind, count, value: struct.pack(f"{order}HHI", tag, kind, count) + value  # noqa: E731
    short = struct.pack(f"{order}HH", orientation, 0)
    block = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, 3)
    block += entry(274, 3, 1, short) + entry(315, 2, len(artist), struct.pack(f"{order}I", 50))
    block += entry(34665, 4, 1, struct.pack(f"{order}I", 50 + len(artist))) + bytes(4)
    return block + artist + struct.pack(f"{order}H", 1) + entry(0xA434, 2, 4, b"50m\0") + bytes(4)


fields = st.fixed_dictionaries(
    {},
    optional={
        "icc-profile-data": blobs,
        "exif-data": st.binary(min_size=5, max_size=40).map(lambda name: exif_block(name + b"\0")),
        "xmp-data": blobs.map(lambda data: b"<x>" + data.hex().encode() + b"</x>"),
        "iptc-data": blobs.map(
            lambda data: b"8BIM\x04\x04\0\0" + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2)
        ),
    },
)


@quick
@given(st.sampled_from(KINDS), st.sampled_from(KINDS), fields, st.sampled_from([None, 72, 300, 1200]))
def test_what_is_read_comes_out_or_is_named(source, target, metadata, dpi):
    if dpi is not None:
        metadata |= {"xres": dpi / 25.4, "yres": dpi / 25.4}
    first = decode(encode(PIXELS, source, metadata))
    second = decode(content := encode(first.pixels, target, first.metadata))
    lost = lost_metadata(first.metadata, target, content)
    for key, name in NAMES.items():
        assert (key in first.metadata) <= (key in metadata), "invented"
        if key not in first.metadata:
            assert key not in second.metadata, "invented"
        elif key == "xres":
            assert name in lost or second.metadata[key] == pytest.approx(first.metadata[key], abs=0.01)
        elif key == "exif-data" and "tiff" in (source, target):  # tags and a block hold the same
            assert tags_of(second.metadata[key]) == tags_of(first.metadata[key])
        else:
            assert name in lost or second.metadata[key] == first.metadata[key]
    if target in LOSSLESS:
        np.testing.assert_array_equal(second.pixels, first.pixels)


def tags_of(block):
    (tags,) = read_directories(lambda offset, count: block[offset : offset + count])
    return {number: (tag.type, tag.data) for number, tag in tags.items() if number != 274 and tag.data}


@pytest.mark.parametrize("source", [*KINDS, "bmp", "pnm"])
@pytest.mark.parametrize("target", [*KINDS, "bmp", "pnm"])
def test_nothing_is_invented_and_nothing_named_where_nothing_was(source, target):
    first = decode(encode(PIXELS, source))
    content = encode(first.pixels, target, first.metadata)
    assert lost_metadata(first.metadata, target, content) == ()
    assert not set(decode(content).metadata) & {*NAMES, "delay"}
    info = PilImage.open(io.BytesIO(content)).info
    assert info.get("dpi", (1, 1)) == (1, 1) or (target == "jpeg" and info["jfif_density"] == (1, 1))
    assert not {"exif", "icc_profile", "xmp"} & info.keys()


@quick
@given(st.lists(st.tuples(st.from_regex(rb"[a-z][a-zA-Z][A-Z][a-z]", fullmatch=True), st.binary(max_size=50)), max_size=6))
def test_chunks_of_a_png_that_nobody_knows_are_kept(chunks):
    native = (b"\x08\x02", *chunks)
    written = decode(encode(PIXELS, "png", {"native": ("png", native)}))
    assert written.metadata["native"] == ("png", native)
    lost = lost_metadata(written.metadata, "jpeg", encode(PIXELS, "jpeg", written.metadata))
    assert lost == tuple(sorted({f"chunk {name.decode()}" for name, _ in chunks}))


@quick
@given(st.dictionaries(st.integers(33000, 33400), blobs, max_size=5), st.booleans())
def test_tags_of_a_tiff_that_nobody_knows_are_kept(values, big):
    tags = {number: Tag(7, len(data), data) for number, data in values.items()}
    packed, _ = pack_directory(tags, 16, big)
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) if big else struct.pack("<2sHI8x", b"II", 42, 16)
    data = head + packed
    if tags:
        (read,) = read_directories(lambda offset, count: data[offset : offset + count])
        assert {number: tag.data for number, tag in read.items()} == values
    written = decode(encode(PIXELS, "tiff", {"native": ("tiff", (tags,))}))
    assert {number: tag.data for number, tag in written.metadata["native"][1][0].items()} == values


@quick
@given(st.lists(st.integers(0, 70000), min_size=2, max_size=6), st.integers(0, 9))
def test_frames_keep_their_times(delays, loop):
    frames = random_pixels((len(delays) * 9, 7, 3))
    written = decode(encode(frames, "webp", {"delay": delays, "loop": loop}, pages=len(delays)))
    assert (written.metadata["delay"], written.metadata["loop"]) == (delays, loop)


def test_equal_frames_keep_their_time_together():
    frames = np.repeat(random_pixels((2, 9, 7, 3)), [3, 1], axis=0).reshape(36, 7, 3)
    written = decode(encode(frames, "webp", {"delay": [5, 0, 120, 7]}, pages=4))
    assert (sum(written.metadata["delay"][:-1]), written.metadata["delay"][-1]) == (125, 7)


pages = st.lists(
    st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 2, 3, 4]), st.sampled_from([np.uint8, np.uint16])),
    min_size=2,
    max_size=4,
)


@quick
@given(pages)
def test_pages_that_differ_come_out_as_they_were(forms):
    expected = [random_pixels((height, width, channels), dtype) for height, width, channels, dtype in forms]
    singles = [encode(page[..., 0] if page.shape[2] == 1 else page, "tiff") for page in expected]
    decoded = decode(joined(singles))
    assert decoded.pages == len(forms)
    written = encode(decoded.pixels, "tiff", decoded.metadata, pages=decoded.pages)
    for number, page in enumerate(expected):
        again = pyvips.Image.tiffload_buffer(written, page=number).numpy()
        np.testing.assert_array_equal(again.reshape(page.shape), page)
        assert again.dtype == page.dtype


def joined(files):
    """Return the pages of TIFFs as one file."""
    from dae_runtime.images.tiff import empty_tiff, finish_tiff

    file = io.BytesIO()
    file.write(empty_tiff(False))
    starts = []
    for data in files:
        starts.append(file.tell())
        file.write(data + b"\0" * (len(data) % 2))
    finish_tiff(file, starts, {"native": ("tiff", ({},) * len(files))})
    return file.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_an_exif_block_keeps_every_byte_but_its_orientation(order, orientation):
    block, changed = fitted(b"Exif\0\0" + exif_block(b"Ann Example\0", orientation, order), 9, 7)
    assert (block, changed) == (exif_block(b"Ann Example\0", 1, order), False)


def test_other_programs_find_the_artist_of_a_tiff_in_a_jpeg_and_back():
    tiff = encode(PIXELS, "tiff", {"exif-data": exif_block(order=">")})
    assert PilImage.open(io.BytesIO(tiff)).tag_v2[315] == "Ann Example"
    decoded = decode(tiff)
    jpeg = PilImage.open(io.BytesIO(encode(PIXELS, "jpeg", decoded.metadata))).getexif()
    assert (jpeg[315], jpeg.get_ifd(34665)[0xA434]) == ("Ann Example", "50m")


def test_colors_multiplied_by_alpha_become_plain_and_are_known_as_such():
    pixels = np.full((6, 5, 4), 64, np.uint8)
    pixels[..., 3] = 128
    data = bytearray(encode(pixels, "tiff"))
    (tags,) = read_directories(lambda offset, count: bytes(data[offset : offset + count]))
    assert tags[338].values == [2]
    data[data.rindex(struct.pack("<HHI", 338, 3, 1)) + 8] = 1
    decoded = decode(bytes(data))
    np.testing.assert_allclose(decoded.pixels[0, 0], [127.5, 127.5, 127.5, 128], atol=1)
    again = decode(content := encode(decoded.pixels, "tiff", decoded.metadata))
    np.testing.assert_array_equal(again.pixels, decoded.pixels)
    assert PilImage.open(io.BytesIO(content)).tag_v2[338] == (2,)


def test_a_gain_map_is_named_and_nothing_refers_to_it():
    xmp = b"<rdf:Description hdrgm:Version='1.0' a:b='c'><Container:Directory><li/></Container:Directory></rdf:Description>"
    decoded = decode(encode(PIXELS, "jpeg", {"xmp-data": xmp, "native": ("jpeg", ((0xE2, b"MPF\0" + bytes(8)),))}))
    content = encode(PIXELS, "jpeg", decoded.metadata)
    assert lost_metadata(decoded.metadata, "jpeg", content) == ("HDR gain map", "further images")
    assert decode(content).metadata["xmp-data"] == b"<rdf:Description a:b='c'></rdf:Description>"
    assert b"MPF" not in content
