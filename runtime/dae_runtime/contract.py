"""The contract: what a model file says about itself.

One JSON document in the ONNX file's `metadata_props` under the key `dae`. docs/model-file.md is its specification; this is the
only module that writes or reads it. Standard library only, so that any tool can use it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import ModelError

METADATA_KEY = "dae"
FORMAT_NAME = "dae-model"
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)
"""Version 1 lacks the fields `pair_limit`, `any_size` and `golden.mean_abs_error`."""
INPUT_NAME = "noisy"
OUTPUT_NAME = "denoised"

IO_DTYPES = {"float32": 4, "uint8": 1}
"""Tensor element types a model may have at its edges, with their sizes in bytes."""
PRECISIONS = ("fp32", "fp16", "int8")
LARGEST_ALIGNMENT_PX = 4096
LARGEST_SIDE_PX = 65_536
"""Beyond these a file is damaged, and a reader that believed it would fill its memory with padding."""
EXACT_PAIR_LIMIT = 128
"""255 * 128 fits into signed 16 bits, which is where x86 without VNNI adds two neighboring products."""
CALIBRATION_METHODS = ("minmax", "entropy", "percentile")


@dataclass(frozen=True)
class Calibration:
    """How the ranges of an INT8 model were found."""

    method: str
    """`minmax`, `entropy` or `percentile`."""
    samples: int
    """Number of noisy images used."""
    source: str
    """Where they came from, in words for people."""

    def __post_init__(self) -> None:
        _check(self.method in CALIBRATION_METHODS, "calibration.method", " or ".join(CALIBRATION_METHODS), self.method)
        _check(_is_count(self.samples), "calibration.samples", "a positive whole number", self.samples)
        _check(isinstance(self.source, str), "calibration.source", "text", self.source)


@dataclass(frozen=True)
class Parity:
    """How far the exported function is from the Keras model, measured at export in float32 before quantization."""

    max_abs_error: float
    """Largest absolute difference over all cases, in units of the value range [0, 1]."""
    tolerance: float
    """What the export allowed."""
    shapes: tuple[tuple[int, ...], ...]
    """The (N, H, W, C) of each case."""

    def __post_init__(self) -> None:
        for name in ("max_abs_error", "tolerance"):
            _check(_is_number(getattr(self, name)), f"parity.{name}", "a finite number", getattr(self, name))
        _check(0 <= self.max_abs_error <= self.tolerance, "parity.max_abs_error", "0..tolerance", self.max_abs_error)
        object.__setattr__(self, "shapes", tuple(tuple(shape) for shape in self.shapes))
        sound = all(len(shape) == 4 and all(map(_is_count, shape)) for shape in self.shapes)
        _check(bool(self.shapes) and sound, "parity.shapes", "a list of (N, H, W, C)", self.shapes)


@dataclass(frozen=True)
class Quality:
    """PSNR in dB over held-out noisy samples with clean references, from the mean squared error over all of them."""

    samples: int
    noisy_psnr_db: float
    """Of the input."""
    fp32_psnr_db: float
    """Of the float32 model's output."""
    psnr_db: float
    """Of this file's output; equal to `fp32_psnr_db` for a float32 file."""

    def __post_init__(self) -> None:
        _check(_is_count(self.samples), "quality.samples", "a positive whole number", self.samples)
        for name in ("noisy_psnr_db", "fp32_psnr_db", "psnr_db"):
            _check(_is_number(getattr(self, name)), f"quality.{name}", "a finite number", getattr(self, name))


@dataclass(frozen=True)
class Golden:
    """A small noisy input and the output that the exporter got for it, to be replayed on any device."""

    shape: tuple[int, ...]
    """(1, H, W, C) of both arrays."""
    noisy: bytes
    """Input, little-endian, C order, in the contract's `io_dtype`."""
    denoised: bytes
    """Expected output, likewise."""
    max_abs_error: float
    """Largest absolute difference that a sound device may show, in units of the value range of `io_dtype`."""
    mean_abs_error: float | None = None
    """Likewise the largest mean absolute difference; None in files of before it was judged."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        _check(
            len(self.shape) == 4 and self.shape[0] == 1 and all(map(_is_count, self.shape)),
            "golden.shape",
            "(1, H, W, C)",
            self.shape,
        )
        _check(len(self.noisy) == len(self.denoised), "golden", "arrays of one size", len(self.denoised))
        sound = _is_number(self.max_abs_error) and self.max_abs_error >= 0
        _check(sound, "golden.max_abs_error", "a finite number, at least 0", self.max_abs_error)
        mean = self.mean_abs_error
        sound = mean is None or (_is_number(mean) and mean >= 0)
        _check(sound, "golden.mean_abs_error", "null or a finite number, at least 0", mean)


@dataclass(frozen=True)
class Contract:
    """What a model file says about itself. Every field is documented in docs/model-file.md."""

    name: str
    """Name of the model, for people."""
    preset: str
    """Architecture it was trained as."""
    channels: int
    """1 (gray) or 3 (RGB)."""
    io_dtype: str
    """Element type of input and output: `float32` in [0, 1] or `uint8` in 0..255."""
    height_px: int | None
    """Fixed image height, or None when free."""
    width_px: int | None
    """Fixed image width, or None when free."""
    alignment_px: int
    """Height and width must be multiples of this."""
    halo_px: int | None
    """Input pixels that an output pixel depends on, counted outwards to each side; None: every pixel."""
    noise: str
    """Noise the model was trained on, as a noise specification."""
    precision: str
    """`fp32`, `fp16` or `int8`."""
    parity: Parity
    golden: Golden
    calibration: Calibration | None = None
    """Only of INT8 models."""
    quality: Quality | None = None
    """None when the exporter had no clean references."""
    pair_limit: int | None = None
    """Largest |w1| + |w2| of two neighboring 8-bit weights of one sign. Up to `EXACT_PAIR_LIMIT` no sum of integers depends on
    the processor; None: not known."""
    any_size: bool = False
    """Whether the graph pads and crops by itself, so that height and width may be any from 1 up in any program."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """Versions of what made the file, by package name."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """Figures measured at export, for people; no reader depends on them."""

    def __post_init__(self) -> None:
        for text in ("name", "preset", "noise"):
            _check(isinstance(getattr(self, text), str), text, "text", getattr(self, text))
        for count in ("channels", "alignment_px", "halo_px", "height_px", "width_px"):
            _check(type(getattr(self, count)) in (int, type(None)), count, "a whole number", getattr(self, count))
        sound = self.pair_limit is None or _is_count(self.pair_limit)
        _check(sound, "pair_limit", "null or a positive whole number", self.pair_limit)
        _check(type(self.any_size) is bool, "any_size", "true or false", self.any_size)
        _check(self.channels in (1, 3), "channels", "1 or 3", self.channels)
        _check(self.io_dtype in IO_DTYPES, "io_dtype", " or ".join(IO_DTYPES), self.io_dtype)
        _check(self.precision in PRECISIONS, "precision", " or ".join(PRECISIONS), self.precision)
        _check(1 <= self.alignment_px <= LARGEST_ALIGNMENT_PX, "alignment_px", f"1..{LARGEST_ALIGNMENT_PX}", self.alignment_px)
        sound = self.halo_px is None or 0 <= self.halo_px <= LARGEST_SIDE_PX
        _check(sound, "halo_px", f"null or 0..{LARGEST_SIDE_PX}", self.halo_px)
        _check(
            (self.height_px is None) == (self.width_px is None),
            "width_px",
            "fixed like height_px",
            self.width_px,
        )
        for name, size in (("height_px", self.height_px), ("width_px", self.width_px)):
            _check(
                size is None or (0 < size <= LARGEST_SIDE_PX and size % self.alignment_px == 0),
                name,
                f"null or a multiple of alignment_px up to {LARGEST_SIDE_PX}",
                size,
            )
        _check(
            (self.calibration is not None) == (self.precision == "int8"),
            "calibration",
            "present exactly for int8",
            self.calibration,
        )
        _check(
            self.golden.shape[3] == self.channels,
            "golden.shape",
            f"{self.channels} channels",
            self.golden.shape,
        )
        for name in ("tools", "report"):
            _check(isinstance(getattr(self, name), Mapping), name, "an object", getattr(self, name))
        texts = all(isinstance(text, str) for pair in self.tools.items() for text in pair)
        _check(texts, "tools", "versions as text, by package name", self.tools)
        size = math.prod(self.golden.shape) * IO_DTYPES[self.io_dtype]
        _check(len(self.golden.noisy) == size, "golden.noisy", f"{size} bytes", len(self.golden.noisy))

    @property
    def is_exact(self) -> bool:
        """Whether no integer sum depends on the processor, by what the file says; a file of floats need not say so."""
        return self.precision != "int8" or (self.pair_limit is not None and self.pair_limit <= EXACT_PAIR_LIMIT)

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The (height, width) in pixels that the model demands, or None when both are free."""
        if self.height_px is None or self.width_px is None:
            return None
        return self.height_px, self.width_px


def to_json(contract: Contract) -> str:
    """Return the JSON document that goes into the model file."""
    document = {"format": FORMAT_NAME, "version": FORMAT_VERSION, **dataclasses.asdict(contract)}
    return json.dumps(document, default=_encode, allow_nan=False, separators=(",", ":"))


def from_json(text: str, where: str = "the model file") -> Contract:
    """Read a contract.

    Args:
        text: The JSON document.
        where: What the text came from, for error messages.

    Raises:
        ModelError: The text is no contract, or one of another version, or holds unknown, missing or impossible fields.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where}: the contract is not valid JSON ({error}). Export the model again.") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT_NAME:
        raise ModelError(f"{where}: expected a contract of format {FORMAT_NAME!r}. Export the model with dae-export.")
    if type(document.get("version")) is not int or document["version"] not in READABLE_VERSIONS:
        raise ModelError(
            f"{where}: the contract has version {document.get('version')!r}, this release reads up to {FORMAT_VERSION}. "
            "Export the model again, or install the release that wrote it."
        )
    fields = {key: value for key, value in document.items() if key not in ("format", "version")}
    try:
        fields["parity"] = _build(Parity, fields.get("parity"), "parity")
        golden = dict(_object(fields.get("golden"), "golden"))
        for key in ("noisy", "denoised"):
            golden[key] = base64.b64decode(golden.get(key, ""), validate=True)
        fields["golden"] = _build(Golden, golden, "golden")
        if fields.get("calibration") is not None:
            fields["calibration"] = _build(Calibration, fields["calibration"], "calibration")
        if fields.get("quality") is not None:
            fields["quality"] = _build(Quality, fields["quality"], "quality")
        contract: Contract = _build(Contract, fields, "contract")
        return contract
    except (ModelError, AttributeError, TypeError, ValueError, binascii.Error) as error:
        raise ModelError(f"{where}: the contract is damaged: {error}. Export the model again.") from error


def _build(kind: type[Any], value: object, name: str) -> Any:
    values = _object(value, name)
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := sorted(set(values) - known):
        raise ModelError(f"{name} has unknown fields: {', '.join(unknown)}")
    return kind(**values)


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelError(f"{name} must be an object, not {type(value).__name__}")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0


def _is_number(value: object) -> bool:
    """Tell whether a value is a finite number; true and false are none, though Python counts with them."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _encode(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"cannot write {type(value).__name__} into a contract")


def _check(condition: bool, name: str, expected: str, received: object) -> None:
    if not condition:
        raise ModelError(f"{name} must be {expected}, not {received!r}")
