"""AVIF, GIF stills, and the quality of lossy files."""

from __future__ import annotations

import numpy as np
import pytest
import pyvips

from builders import random_pixels
from dae_runtime import FolderRequest, run_folder
from dae_runtime.images import Image, find_images, read_image, write_image
from dae_runtime.images.headers import jpeg_quality, sniff
from dae_runtime.pixels.scores import score

HEIF_PIXELS = {8: "uchar", 10: "ushort", 12: "ushort"}


def smooth(shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    steps = np.linspace(0.1, 0.9, shape[1]) * np.linspace(0.5, 1, shape[0])[:, None]
    values = np.broadcast_to(steps.reshape(*steps.shape, *[1] * (len(shape) - 2)), shape)
    return (values * np.iinfo(dtype).max).round().astype(dtype)


def metadata() -> dict:
    exif = b"II*\0\x08\0\0\0\x01\0\x3b\x01\x02\0\x04\0\0\0Ann\0\0\0\0\0"
    profile = bytes(pyvips.Operation.call("profile_load", "srgb"))
    return {"exif-data": exif, "icc-profile-data": profile, "xmp-data": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"}


@pytest.mark.parametrize(("shape", "dtype"), [((40, 60, 3), np.uint8), ((40, 60, 4), np.uint8), ((40, 60, 3), np.uint16)])
def test_avif_is_written_and_read(tmp_path, shape, dtype):
    pixels = smooth(shape, dtype)
    assert write_image(tmp_path / "a.avif", Image(pixels, metadata())) == ()
    again = read_image(tmp_path / "a.avif")
    assert (again.kind, again.pixels.dtype, again.pixels.shape) == ("avif", dtype, shape)
    np.testing.assert_allclose(again.pixels / np.iinfo(dtype).max, pixels / np.iinfo(dtype).max, atol=0.03)
    assert again.metadata["icc-profile-data"] == metadata()["icc-profile-data"]
    assert b"Ann\0" in again.metadata["exif-data"]
    assert again.metadata["xmp-data"] == metadata()["xmp-data"]


@pytest.mark.parametrize("bits", HEIF_PIXELS)
def test_the_bits_of_an_avif_are_kept(tmp_path, bits):
    image = pyvips.Image.new_from_array(smooth((40, 60, 3), np.uint8 if bits == 8 else np.uint16))
    image = image.copy(interpretation="srgb" if bits == 8 else "rgb16")
    (tmp_path / "a.avif").write_bytes(image.heifsave_buffer(compression="av1", bitdepth=bits, Q=95, effort=1))
    read = read_image(tmp_path / "a.avif")
    write_image(tmp_path / "b.avif", read)
    again = pyvips.Image.heifload(str(tmp_path / "b.avif"))
    assert (again.get("bits-per-sample"), again.format) == (bits, HEIF_PIXELS[bits])


def test_an_avif_without_metadata_gets_none(tmp_path):
    write_image(tmp_path / "a.avif", Image(smooth((20, 30, 3))))
    assert not {"exif-data", "icc-profile-data", "xmp-data"} & read_image(tmp_path / "a.avif").metadata.keys()


def test_a_turned_avif_is_upright(tmp_path):
    """An AVIF turns by boxes of its own, which the decoder applies; the orientation in its EXIF does not count."""
    image = pyvips.Image.new_from_array(smooth((20, 30, 3))).copy(interpretation="srgb")
    image.set_type(pyvips.GValue.gint_type, "orientation", 6)
    (tmp_path / "a.avif").write_bytes(image.heifsave_buffer(compression="av1", effort=1, Q=95))
    shown = pyvips.Image.heifload(str(tmp_path / "a.avif")).numpy()
    np.testing.assert_array_equal(read_image(tmp_path / "a.avif").pixels, shown)


@pytest.mark.parametrize("brands", [b"avif\0\0\0\0mif1miaf", b"mif1\0\0\0\0miafavif"])
def test_brands_tell_avif(brands):
    assert sniff(b"\0\0\0\x18ftyp" + brands) == "avif"


@pytest.mark.parametrize("with_alpha", [False, True])
def test_a_still_gif_becomes_a_png(tmp_path, blur, with_alpha):
    pixels = smooth((20, 30, 4))
    pixels[..., 3] = 255
    if with_alpha:
        pixels[:5, :, 3] = 0
    (tmp_path / "in").mkdir()
    image = pyvips.Image.new_from_array(pixels).copy(interpretation="srgb")
    (tmp_path / "in" / "a.GIF").write_bytes(image.gifsave_buffer(dither=0))
    assert find_images(tmp_path / "in") == [tmp_path / "in" / "a.GIF"]
    read = read_image(tmp_path / "in" / "a.GIF")
    assert (read.kind, read.pixels.shape) == ("gif", (20, 30, 4 if with_alpha else 3))
    assert run_folder(FolderRequest(tmp_path / "in", tmp_path / "out"), blur).done == 1
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "a.png").pixels, blur.denoise(read.pixels))


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_a_quality_is_written(tmp_path, suffix):
    pixels, sizes = random_pixels((64, 64, 3)), []
    for quality in (20, 60, 99):
        write_image(tmp_path / f"a{suffix}", Image(pixels), quality=quality)
        data = (tmp_path / f"a{suffix}").read_bytes()
        sizes.append(len(data))
        if suffix == ".jpg":
            assert jpeg_quality(lambda offset, count: data[offset : offset + count]) == quality  # noqa: B023
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("sampling", ["on", "off"])
def test_a_quality_changes_neither_the_sampling_nor_what_is_lossless(tmp_path, sampling):
    image = pyvips.Image.new_from_array(smooth((64, 64, 3))).copy(interpretation="srgb")
    (tmp_path / "a.jpg").write_bytes(image.jpegsave_buffer(Q=90, subsample_mode=sampling))
    write_image(tmp_path / "b.jpg", read_image(tmp_path / "a.jpg"), quality=50)
    assert pyvips.Image.jpegload(str(tmp_path / "b.jpg")).get("jpeg-chroma-subsample") == (
        "4:2:0" if sampling == "on" else "4:4:4"
    )
    (tmp_path / "a.webp").write_bytes(image.webpsave_buffer(lossless=True))
    write_image(tmp_path / "b.webp", read_image(tmp_path / "a.webp"), quality=50)
    np.testing.assert_array_equal(read_image(tmp_path / "b.webp").pixels, image.numpy())


@pytest.mark.parametrize(
    ("shape", "name"), [((48, 64, 3), "a.jpg"), ((48, 64), "a.webp"), ((48, 64), "a.avif"), ((48, 64), "a.png")]
)
def test_scores_are_those_of_the_file_written(tmp_path, blur, shape, name):
    """At a low quality they differ from those of the pixels before."""
    for folder, seed in (("in", 1), ("clean", None)):
        (tmp_path / folder).mkdir()
        pixels = smooth(shape) if seed is None else np.clip(smooth(shape) + random_pixels(shape, seed=seed) / 8.0 - 16, 0, 255)
        write_image(tmp_path / folder / "a.png", Image(pixels.astype(np.uint8)))
    request = FolderRequest(tmp_path / "in" / "a.png", tmp_path / name, quality=10, reference=tmp_path / "clean" / "a.png")
    told = run_folder(request, blur).scores
    noisy, clean = (read_image(tmp_path / folder / "a.png").pixels for folder in ("in", "clean"))
    written = read_image(tmp_path / name).pixels
    found = score(clean, noisy, written if written.ndim == clean.ndim else written[..., 1])
    assert told == found
    before = score(clean, noisy, blur.denoise(noisy))
    assert (told.denoised_psnr_db == before.denoised_psnr_db) == (name == "a.png")
