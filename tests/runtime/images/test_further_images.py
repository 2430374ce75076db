"""What lies behind the first image of a JPEG: an HDR gain map, another view, the film of a motion photo. It is named."""

from __future__ import annotations

import io
import json
import struct

import pytest
from PIL import Image as PilImage

from builders import invoke, random_pixels
from dae_runtime.cli.command import command
from dae_runtime.images import decode, encode
from dae_runtime.images.headers import jpeg_end

XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" xmlns:Container="c" hdrgm:Version="1.0">
<Container:Directory><rdf:Seq/></Container:Directory></rdf:Description></rdf:RDF></x:xmpmeta>"""
PIXELS = random_pixels((40, 56, 3))


def index_of(first: int, second: int, start: int) -> bytes:
    """Return the index of two images, CIPA DC-007: sizes in bytes, and where the second starts."""
    tags = ((0xB000, 7, 4, b"0100"), (0xB001, 4, 1, struct.pack("<I", 2)), (0xB002, 7, 32, struct.pack("<I", 50)))
    directory = struct.pack("<H", 3) + b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in tags) + bytes(4)
    images = struct.pack("<3I2H", 0x20030000, first, 0, 0, 0) + struct.pack("<3I2H", 0, second, start, 0, 0)
    return b"MPF\0II*\0\x08\0\0\0" + directory + images


def ultra_hdr() -> bytes:
    """Return a JPEG with a gain map as phones write it: XMP, an index of images, and the map as a second JPEG."""
    gain_map = encode(random_pixels((10, 14)), "jpeg")
    parts = {"xmp-data": XMP, "native": ("jpeg", ((0xE2, index_of(0, len(gain_map), 0)),))}
    size = len(encode(PIXELS, "jpeg", parts))
    parts["native"] = ("jpeg", ((0xE2, index_of(size, len(gain_map), size - 200)),))
    return encode(PIXELS, "jpeg", parts) + gain_map


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_run_says_that_a_gain_map_was_left_out(tmp_path, blur_file, suffix):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(ultra_hdr())
    (tmp_path / "in" / "b.jpg").write_bytes(encode(PIXELS, "jpeg"))
    manifest = tmp_path / "runs.jsonl"
    options = ("-m", blur_file, "--format", suffix[1:], "--manifest", manifest)
    done = invoke(command, tmp_path / "in", tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    said = [line for line in done.stderr.splitlines() if "written without" in line]
    assert [line.split(": ")[0] for line in said] == [
        "1 file written without HDR gain map",
        "1 file written without further images",
    ]
    assert all(line.endswith("a.jpg") for line in said)
    lost = [json.loads(line).get("lost") for line in manifest.read_text().splitlines()]
    assert ["HDR gain map", "further images"] in lost
    content = (tmp_path / "out" / f"a{suffix}").read_bytes()
    assert b"MPF\0" not in content
    assert b"hdrgm:" not in content
    if suffix == ".jpg":
        assert jpeg_end(lambda offset, count: content[offset : offset + count]) == len(content)


def test_the_film_of_a_motion_photo_is_named_and_padding_is_not():
    content = encode(PIXELS, "jpeg")
    assert decode(content + b"\0\0\0\x18ftypmp42" + bytes(1000)).metadata["lost"] == {"data behind the image"}
    assert decode(content + bytes(1000)).metadata["lost"] == frozenset()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"comment": b"\xff\xd9" * 50}])
def test_the_end_of_an_image_is_found(options):
    file = io.BytesIO()
    PilImage.fromarray(random_pixels((300, 700, 3))).save(file, "JPEG", quality=95, **options)
    content = file.getvalue()
    behind = content + content
    assert jpeg_end(lambda offset, count: behind[offset : offset + count]) == len(content)
    assert jpeg_end(lambda offset, count: content[:-1][offset : offset + count]) is None
