"""Feed damaged files to the runtime, one after another, and say of each what came of it.

python worker.py images|models SEEDS KEEP FIRST LAST

SEEDS is a folder of sound files, KEEP an empty folder. Case number n is always the same file. For each case a line `n start`
is printed, then `n answer` or `n refused ERROR`; whatever else happens (an error that is not ours, a wrong answer) ends the
process with a traceback. A case that takes too long ends it with SIGALRM. The last case's file is left in KEEP.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from dae_runtime import DaeError, Denoiser
from dae_runtime.images import read_image, write_image

SEED = int(os.environ.get("DAE_FUZZ_SEED", "2024"))
CASE_SECONDS = 20
MEMORY_BYTES = 6 * 2**30
DENOISED_PIXELS = 300_000
"""Larger images are only read: their time would go into arithmetic."""
NUMBERS = (0, 1, 2, 3, 7, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 60_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

VALUES = (
    None,
    True,
    0,
    1,
    -1,
    2,
    3,
    4,
    6,
    8,
    64,
    1000,
    10**6,
    10**9,
    2**31,
    2**63,
    10**30,
    0.5,
    1e308,
    "",
    "x",
    "4",
    [],
    [1],
    [1, 8, 12, 1],
    {},
    {"a": 1},
)
"""What the fields of a contract are set to."""

Rng = np.random.Generator
Mutation = Callable[[bytearray, Rng, list[bytes]], None]


def place(data: bytearray, rng: Rng) -> int:
    """Return a position; headers, where it hurts, come up more often than their share."""
    end = len(data) if rng.random() < 0.5 else min(len(data), 128)
    return int(rng.integers(0, max(end, 1)))


def flip_bits(data: bytearray, rng: Rng, others: list[bytes]) -> None:
    for _ in range(int(rng.integers(1, 9))):
        data[place(data, rng)] ^= 1 << int(rng.integers(0, 8))


def overwrite(data: bytearray, rng: Rng, others: list[bytes]) -> None:
    start = place(data, rng)
    length = min(int(rng.integers(1, 33)), len(data) - start)
    data[start : start + length] = rng.bytes(length)


def truncate(data: bytearray, rng: Rng, others: list[bytes]) -> None:
    del data[place(data, rng) + 1 :]


def splice(data: bytearray, rng: Rng, others: list[bytes]) -> None:
    other = others[int(rng.integers(0, len(others)))]
    start, length = int(rng.integers(0, len(other))), int(rng.integers(1, 257))
    where = place(data, rng)
    keep = where if rng.random() < 0.5 else where + length
    data[where:keep] = other[start : start + length]


def delete(data: bytearray, rng: Rng, others: list[bytes]) -> None:
    start = place(data, rng)
    end = min(start + int(rng.integers(1, 65)), len(data) - 1)
    del data[start:end]


def repeat(data: bytearray, rng: Rng, others: list[bytes]) -> None:
    start = place(data, rng)
    part = data[start : start + int(rng.integers(1, 257))]
    data[start:start] = part * int(rng.integers(1, 9))


def edit_number(data: bytearray, rng: Rng, others: list[bytes]) -> None:
    """Write a length, a width or a count that is just off, huge or nothing."""
    size = int(rng.choice([1, 2, 4]))
    where = min(place(data, rng), max(len(data) - size, 0))
    value = int(rng.choice(NUMBERS)) & (256**size - 1)
    data[where : where + size] = value.to_bytes(size, "little" if rng.random() < 0.5 else "big")


def edit_png_chunk(data: bytearray, rng: Rng, others: list[bytes]) -> None:
    """Change a chunk of a PNG and make its checksum right again, so that the change gets past the first look."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return edit_number(data, rng, others)
    chunks, where = [], 8
    while where + 12 <= len(data):
        length = int.from_bytes(data[where : where + 4], "big")
        if where + 12 + length <= len(data):
            chunks.append((where, length))
        where += 12 + length
    if not chunks:
        return None
    start, length = chunks[int(rng.integers(0, len(chunks)))]
    body = data[start + 8 : start + 8 + length]
    if body:
        (overwrite if rng.random() < 0.5 else edit_number)(body, rng, others)
    body = body[:length].ljust(length, b"\0")
    data[start + 8 : start + 8 + length] = body
    data[start + 8 + length : start + 12 + length] = zlib.crc32(data[start + 4 : start + 8 + length]).to_bytes(4, "big")
    return None


def edit_contract(data: bytearray, rng: Rng, others: list[bytes]) -> None:
    """Change digits and signs of a model's contract, whose length stays, so that the file remains readable."""
    start = data.find(b'{"format"')
    if start < 0:
        return flip_bits(data, rng, others)
    plain = data.find(b'"golden"', start)
    old, new = (b"0123456789", b"0123456789") if rng.random() < 0.8 else (b'0123456789.",:[]{}-aefn', b'0123456789-"[{,.eN')
    spots = [at for at in range(start, plain) if data[at] in old] or [start]
    for _ in range(int(rng.integers(1, 4))):
        data[spots[int(rng.integers(0, len(spots)))]] = int(rng.choice(list(new)))
    return None


def replace_field(data: bytearray, rng: Rng, others: list[bytes]) -> None:
    """Give a field of a model's contract a value of any kind, in a file that is sound otherwise."""
    try:
        model = onnx.load_model_from_string(bytes(data))
        contract = json.loads(model.metadata_props[0].value)
    except (DecodeError, ValueError, IndexError):
        return flip_bits(data, rng, others)
    inner = [value for value in contract.values() if isinstance(value, dict) and value]
    target = inner[int(rng.integers(0, len(inner)))] if inner and rng.random() < 0.3 else contract
    key = list(target)[int(rng.integers(0, len(target)))]
    target[key] = VALUES[int(rng.integers(0, len(VALUES)))]
    model.metadata_props[0].value = json.dumps(contract)
    data[:] = model.SerializeToString()
    return None


def edit_weights(data: bytearray, rng: Rng, others: list[bytes]) -> None:
    """Change bytes in the first half of a model, where its graph and weights are."""
    for _ in range(int(rng.integers(1, 9))):
        data[int(rng.integers(0, len(data) // 2 + 1))] = int(rng.integers(0, 256))


IMAGE_MUTATIONS: tuple[Mutation, ...] = (
    flip_bits, overwrite, truncate, splice, delete, repeat, edit_number, edit_number, edit_png_chunk, edit_png_chunk,
)  # fmt: skip
MODEL_MUTATIONS: tuple[Mutation, ...] = (
    flip_bits, overwrite, truncate, splice, delete, repeat, edit_number, edit_weights, edit_contract, replace_field,
    replace_field,
)  # fmt: skip


def damaged(case: int, seeds: list[bytes], mutations: tuple[Mutation, ...]) -> tuple[bytes, bytes, list[str]]:
    """Return the file of a case, the sound file that it was made of, and the names of the mutations."""
    rng = np.random.default_rng([SEED, case])
    original = seeds[int(rng.integers(0, len(seeds)))]
    data, names = bytearray(original), []
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        mutation = mutations[int(rng.integers(0, len(mutations)))]
        mutation(data, rng, seeds)
        names.append(mutation.__name__)
        if not data:
            break
    return bytes(data), original, names


def try_image(path: Path, original: bytes, names: list[str], denoiser: Denoiser) -> None:
    image = read_image(path)
    pixels = image.pixels
    assert pixels.dtype in (np.uint8, np.uint16), pixels.dtype
    assert pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (2, 3, 4)), pixels.shape
    if names == ["truncate"]:
        sound = path.with_name("sound")
        sound.write_bytes(original)
        np.testing.assert_array_equal(pixels, read_image(sound).pixels, "a part was taken for the whole")
    if pixels.size > DENOISED_PIXELS:
        return
    clean = image.with_pixels(denoiser.denoise(image.page_pixels))
    assert (clean.pixels.shape, clean.pixels.dtype) == (pixels.shape, pixels.dtype)
    written = path.with_name("written.png" if image.pages == 1 else "written.tif")
    write_image(written, clean)
    again = read_image(written).pixels
    if "page-forms" in image.metadata:  # of pages that differ, what pads the smaller ones is not written
        assert again.shape == pixels.shape
    else:
        np.testing.assert_array_equal(again, clean.pixels)


def try_model(path: Path, original: bytes, names: list[str], denoiser: Denoiser) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 24)).astype(np.uint8)
    with Denoiser(path, "cpu", 1) as damaged_one:
        clean = damaged_one.denoise(image)
    assert (clean.shape, clean.dtype) == (image.shape, image.dtype)


def main(kind: str, seeds: Path, keep: Path, first: int, last: int) -> None:
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    files = [path.read_bytes() for path in sorted(seeds.glob(f"{kind}/*"))]
    denoiser = Denoiser(seeds / "models" / "float.onnx", "cpu", 1)
    attempt, mutations = (try_image, IMAGE_MUTATIONS) if kind == "images" else (try_model, MODEL_MUTATIONS)
    for case in range(first, last):
        data, original, names = damaged(case, files, mutations)
        path = keep / f"{kind}-{case}"
        path.write_bytes(data)
        print(case, "start", "+".join(names), zlib.crc32(data), flush=True)
        signal.alarm(CASE_SECONDS)
        try:
            attempt(path, original, names, denoiser)
            print(case, "answer", flush=True)
        except (DaeError, MemoryError) as error:
            print(case, "refused", type(error).__name__, " ".join(str(error).split())[:200], flush=True)
        signal.alarm(0)
        left = list(keep.glob(".dae-tmp-*"))
        assert not left, f"an unfinished file is left behind: {left}"
        path.unlink()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
