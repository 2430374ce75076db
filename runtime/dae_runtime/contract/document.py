"""The contract: the description inside a model file.

One JSON document in the ONNX file's `metadata_props` under the key `dae`. Specified in docs/model-file.md; only
this module reads and writes it. Standard library only.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ModelError
from .image_spec import ImageSpec
from .parts import SIGMA_FORMS, Calibration, Golden, Parity, Quality, SigmaInput, check, is_count

METADATA_KEY = "dae"
FORMAT_NAME = "dae-model"
FORMAT_VERSION = 4
READABLE_VERSIONS = (1, 2, 3, 4)
"""Version 1 lacks the fields `pair_limit`, `any_size` and `golden.mean_abs_error`; 1 and 2 lack `sigma` and `golden.sigma`;
1 to 3 lack `layout` and `sigma.form`."""
INPUT_NAME = "noisy"
SIGMA_NAME = "sigma"
OUTPUT_NAME = "denoised"

IO_DTYPES = {"float32": 4, "uint8": 1}
"""Element types of input and output, with their sizes in bytes."""
NHWC, NCHW = "NHWC", "NCHW"
LAYOUTS = (NHWC, NCHW)
"""Order of the axes of images at input and output; the first is that of the files that this toolkit runs."""
PRECISIONS = ("fp32", "fp16", "int8")
LARGEST_ALIGNMENT_PX = 4096
LARGEST_SIDE_PX = 65_536
LARGEST_WINDOW_PX = 2**24
"""Largest height times width. Larger values mean a damaged file, and would exhaust memory: any image is extended to that."""
EXACT_PAIR_LIMIT = 128
"""255 * 128 fits into signed 16 bits, in which x86 without VNNI adds two neighboring products."""


@dataclass(frozen=True)
class Contract:
    """The description of a model file; docs/model-file.md documents every field."""

    name: str
    """Display name of the model."""
    preset: str
    """Architecture of the network."""
    channels: int
    """1 (gray) or 3 (RGB)."""
    io_dtype: str
    """Element type of input and output: `float32` in [0, 1] or `uint8` in 0..255."""
    height_px: int | None
    """Fixed image height; None if free."""
    width_px: int | None
    """Fixed image width; None if free."""
    alignment_px: int
    """Height and width must be multiples of this."""
    halo_px: int | None
    """Input pixels to each side that an output pixel depends on; None: the whole image."""
    noise: str
    """Training noise, as a noise specification."""
    precision: str
    """`fp32`, `fp16` or `int8`."""
    parity: Parity
    golden: Golden
    calibration: Calibration | None = None
    """INT8 models only."""
    quality: Quality | None = None
    """None if the exporter had no clean references."""
    pair_limit: int | None = None
    """Largest |w1| + |w2| of two neighboring 8-bit weights of one sign. Up to `EXACT_PAIR_LIMIT` integer sums do not
    depend on the processor; None: unknown."""
    any_size: bool = False
    """Whether the graph itself pads and crops, so that any height and width from 1 up works in any program."""
    sigma: SigmaInput | None = None
    """The second input, the noise level; None if there is none and the model estimates the noise itself."""
    layout: str = NHWC
    """Order of the axes of input and output: `NHWC`, or `NCHW` in files for other programs."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """Versions of the exporting packages, by name."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """Figures measured at export, for information only."""

    def __post_init__(self) -> None:
        for text in ("name", "preset", "noise"):
            check(isinstance(getattr(self, text), str), text, "text", getattr(self, text))
        for count in ("channels", "alignment_px", "halo_px", "height_px", "width_px"):
            check(type(getattr(self, count)) in (int, type(None)), count, "a whole number", getattr(self, count))
        sound = self.pair_limit is None or is_count(self.pair_limit)
        check(sound, "pair_limit", "null or a positive whole number", self.pair_limit)
        check(type(self.any_size) is bool, "any_size", "true or false", self.any_size)
        check(self.channels in (1, 3), "channels", "1 or 3", self.channels)
        check(self.io_dtype in IO_DTYPES, "io_dtype", " or ".join(IO_DTYPES), self.io_dtype)
        check(self.precision in PRECISIONS, "precision", " or ".join(PRECISIONS), self.precision)
        check(1 <= self.alignment_px <= LARGEST_ALIGNMENT_PX, "alignment_px", f"1..{LARGEST_ALIGNMENT_PX}", self.alignment_px)
        sound = self.halo_px is None or 0 <= self.halo_px <= LARGEST_SIDE_PX
        check(sound, "halo_px", f"null or 0..{LARGEST_SIDE_PX}", self.halo_px)
        sound = (self.height_px is None) == (self.width_px is None)
        check(sound, "width_px", "fixed like height_px", self.width_px)
        for name, side in (("height_px", self.height_px), ("width_px", self.width_px)):
            sound = side is None or (0 < side <= LARGEST_SIDE_PX and side % self.alignment_px == 0)
            check(sound, name, f"null or a multiple of alignment_px up to {LARGEST_SIDE_PX}", side)
        window_px = (self.height_px or 0) * (self.width_px or 0)
        check(window_px <= LARGEST_WINDOW_PX, "height_px", f"times width_px up to {LARGEST_WINDOW_PX}", window_px)
        sound = (self.calibration is not None) == (self.precision == "int8")
        check(sound, "calibration", "present exactly for int8", self.calibration)
        check(self.golden.shape[3] == self.channels, "golden.shape", f"{self.channels} channels", self.golden.shape)
        check(self.layout in LAYOUTS, "layout", " or ".join(LAYOUTS), self.layout)
        sound = self.sigma is None or self.sigma.form == SIGMA_FORMS[0] or self.layout == NCHW
        check(sound, "sigma.form", f"{SIGMA_FORMS[0]!r} with {NHWC}", self.sigma and self.sigma.form)
        sound = (self.golden.sigma is None) == (self.sigma is None)
        check(sound, "golden.sigma", "present exactly with sigma", self.golden.sigma)
        for name in ("tools", "report"):
            check(isinstance(getattr(self, name), Mapping), name, "an object", getattr(self, name))
        texts = all(isinstance(text, str) for pair in self.tools.items() for text in pair)
        check(texts, "tools", "versions as text, by package name", self.tools)
        size = math.prod(self.golden.shape) * IO_DTYPES[self.io_dtype]
        check(len(self.golden.noisy) == size, "golden.noisy", f"{size} bytes", len(self.golden.noisy))

    @property
    def is_exact(self) -> bool:
        """Whether integer sums do not depend on the processor; always true for float models."""
        return self.precision != "int8" or (self.pair_limit is not None and self.pair_limit <= EXACT_PAIR_LIMIT)

    @property
    def for_other_programs(self) -> bool:
        """Whether the file is for other programs, in the layout that these hand over."""
        return self.layout != NHWC

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Fixed (height, width) in pixels; None if free."""
        if self.height_px is None or self.width_px is None:
            return None
        return self.height_px, self.width_px

    @property
    def images(self) -> ImageSpec:
        """The images accepted by the model."""
        return ImageSpec(self.channels, self.alignment_px, self.halo_px, self.fixed_size)


def to_json(contract: Contract, indent: int | None = None) -> str:
    """Return the JSON document for the model file, of the oldest version that can say it.

    Args:
        contract: The contract.
        indent: Spaces to indent by, for people; None for one short line.
    """
    document = {"format": FORMAT_NAME, "version": FORMAT_VERSION, **dataclasses.asdict(contract)}
    if not contract.for_other_programs:
        document["version"] = FORMAT_VERSION - 1
        del document["layout"]
        if document["sigma"] is not None:
            del document["sigma"]["form"]
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(document, default=_encode, allow_nan=False, separators=separators, indent=indent)


def from_json(text: str, where: str = "the model file") -> Contract:
    """Read a contract.

    Args:
        text: The JSON document.
        where: Origin of the text, for error messages.

    Raises:
        ModelError: The text is not a contract, has another version, or holds unknown, missing or invalid fields.
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
        for kind, key in ((Calibration, "calibration"), (Quality, "quality"), (SigmaInput, "sigma")):
            if fields.get(key) is not None:
                fields[key] = _build(kind, fields[key], key)
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


def _encode(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"cannot write {type(value).__name__} into a contract")
