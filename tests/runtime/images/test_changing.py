"""Files that other programs shorten or rewrite while they are read: an image or our error, never the end of the process."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import pyvips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import random_pixels
from dae_runtime.errors import ImageError
from dae_runtime.images import IMAGE_SUFFIXES, Image, read_image, write_image
from dae_runtime.images import codec as codec_module

MAPS = Path("/proc/self/maps")
SHAPE = (200, 300, 3)


@pytest.fixture(scope="module")
def contents(tmp_path_factory) -> dict[str, bytes]:
    """Files of every suffix, of several pages of memory, and of the layouts that decoders read in another order."""
    folder, found = tmp_path_factory.mktemp("changing"), {}
    pixels = random_pixels(SHAPE)
    for suffix in IMAGE_SUFFIXES:
        path = folder / f"plain{suffix}"
        write_image(path, Image(pixels[..., 0] if suffix == ".pgm" else pixels))
        found[path.name] = path.read_bytes()
    image = pyvips.Image.new_from_array(pixels)
    found["progressive.jpg"] = image.jpegsave_buffer(interlace=True)
    found["interlaced.png"] = image.pngsave_buffer(interlace=True)
    found["tiled.tif"] = image.tiffsave_buffer(tile=True, compression="jpeg")
    turned = image.copy()
    turned.set_type(pyvips.GValue.gint_type, "orientation", 6)
    found["turned.jpg"] = turned.jpegsave_buffer()
    found["lossless.webp"] = image.webpsave_buffer(lossless=True, effort=0)
    return found


def test_no_file_is_mapped(tmp_path, contents):
    """A mapped page that the file no longer has ends the process with SIGBUS."""
    for name, content in contents.items():
        path, mapped = tmp_path / name, []
        path.write_bytes(content)
        read_image(path, before_allocate=lambda _, path=path, mapped=mapped: mapped.append(str(path) in MAPS.read_text()))
        assert mapped == [False], name


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), share=st.floats(0, 1), late=st.booleans())
def test_a_file_that_changes_while_it_is_read(tmp_path, contents, data, share, late):
    name = data.draw(st.sampled_from(sorted(contents)))
    change = data.draw(st.sampled_from(["truncate", "rewrite", "other", "grow", "remove"]))
    other = contents[data.draw(st.sampled_from(sorted(contents)))]
    path = tmp_path / name
    path.write_bytes(contents[name])

    def disturb(*_):
        if change == "truncate":
            os.truncate(path, int(share * len(contents[name])))
        elif change == "remove":
            path.unlink()
        else:
            path.write_bytes(
                {"rewrite": contents[name][::-1], "other": other, "grow": contents[name] + bytes(100_000)}[change]
            )

    real = codec_module.sniff
    with pytest.MonkeyPatch.context() as patch:
        if not late:  # before libvips opens it; else between its header and its pixels
            patch.setattr(codec_module, "sniff", lambda head: (real(head), disturb())[0])
        try:
            outcome: object = read_image(path, before_allocate=disturb if late else None).pixels.dtype
        except ImageError as error:
            outcome = str(error)
    assert outcome == np.uint8 or (name in outcome and "reports no reason" not in outcome)
