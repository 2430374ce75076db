from __future__ import annotations

import struct

import numpy as np
import pytest
import pyvips

from dae_runtime.errors import ImageError
from dae_runtime.images import decode
from dae_runtime.images.headers import compression, has_more_images, jpeg_quality


def reader(data):
    return lambda offset, count: data[offset : offset + count]


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(content)) + content


def jpeg(*segments):
    return b"\xff\xd8" + b"".join(segments) + b"\xff\xda\0\2"


def table(number, values, wide):
    return bytes([wide << 4 | number]) + values.astype(">u2" if wide else "u1").tobytes()


def luminance(quality):
    """libjpeg's own table of a quality."""
    data = pyvips.Image.black(8, 8).jpegsave_buffer(Q=quality)
    start = data.index(b"\xff\xdb\0\x43\0") + 5
    return np.frombuffer(data, np.uint8, 64, start)


@pytest.mark.parametrize("wide", [(0, 0), (1, 1), (1, 0), (0, 1)])
@pytest.mark.parametrize("numbers", [(0, 1), (1, 0)])
@pytest.mark.parametrize("together", [True, False])
def test_the_quality_is_found_in_any_order_of_tables(wide, numbers, together):
    tables = [
        table(number, luminance(60) if number == 0 else np.full(64, 200), bits)
        for number, bits in zip(numbers, wide, strict=True)
    ]
    segments = [segment(0xDB, b"".join(tables))] if together else [segment(0xDB, each) for each in tables]
    assert jpeg_quality(reader(jpeg(*segments))) == 60


@pytest.mark.parametrize("length", [1, 2, 3, 64, 65, 66, 127, 128])
def test_tables_that_are_cut_short_are_no_tables(length):
    content = table(0, luminance(60), True)[:length]
    assert jpeg_quality(reader(jpeg(segment(0xDB, content)))) in (None, 60)


@pytest.mark.parametrize(
    ("factors", "mode"),
    [("22 11 11", "on"), ("21 11 11", "off"), ("12 11 11", "off"), ("11 11 11", "off"), ("41 11 11", "off"), ("11", "off")],
)
def test_the_chroma_of_a_jpeg_is_halved_again_only_where_it_was(factors, mode):
    """Only 4:2:0 halves it both ways; 4:2:2 keeps all rows."""
    components = [bytes([number, int(pair, 16), 0]) for number, pair in enumerate(factors.split(), 1)]
    frame = segment(0xC2, struct.pack(">BHHB", 8, 16, 16, len(components)) + b"".join(components))
    options = compression("jpeg", reader(jpeg(segment(0xDB, table(0, luminance(90), False)), frame)))
    assert options == {"Q": 90, "subsample_mode": mode}


def test_a_jpeg_of_several_pictures():
    plain, several = jpeg(segment(0xE2, b"ICC_PROFILE\0")), jpeg(segment(0xE2, b"ICC_PROFILE\0"), segment(0xE2, b"MPF\0II*\0"))
    assert not has_more_images("jpeg", reader(plain))
    assert has_more_images("jpeg", reader(several))
    assert not has_more_images("png", reader(several))


def test_a_jpeg_of_16_bit_tables_is_read_and_written():
    """Baseline JPEG has tables of 8 bits; extended ones of 16, which libjpeg takes, often both in one segment."""
    data = pyvips.Image.black(16, 16, bands=3).copy(interpretation="srgb").jpegsave_buffer(Q=50)
    head, rest, offset = b"\xff\xd8", b"", 2
    tables = []
    while data[offset + 1] != 0xDA:
        length = 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
        part, offset = data[offset : offset + length], offset + length
        if part[1] == 0xDB:
            tables.append(table(part[4], np.frombuffer(part, np.uint8, 64, 5), True))
        else:
            rest += b"\xff\xc1" + part[2:] if part[1] == 0xC0 else part
    decoded = decode(head + segment(0xDB, b"".join(tables)) + rest + data[offset:])
    assert decoded.pixels.shape == (16, 16, 3)
    assert decoded.metadata["compression"][1]["Q"] == 50


def test_damaged_heads_are_never_another_error():
    rng = np.random.default_rng(0)
    data = pyvips.Image.black(16, 16, bands=3).copy(interpretation="srgb").jpegsave_buffer(Q=50)
    for _ in range(300):
        damaged = bytearray(data)
        for position in rng.integers(2, 200, 3):
            damaged[position] = rng.integers(0, 256)
        compression("jpeg", reader(bytes(damaged)))
        has_more_images("jpeg", reader(bytes(damaged)))
        try:
            decode(bytes(damaged))
        except ImageError:
            continue
