"""Requests and answers of the Open Inference Protocol, version 2, over HTTP.

https://github.com/kserve/open-inference-protocol, with Triton's extension for binary data: after the JSON text, whose
length the header `Inference-Header-Content-Length` gives, come the bytes of the tensors, little-endian, in C order.

The input `noisy` is (H, W), (H, W, C) or (N, H, W, C), UINT8 0..255, UINT16 0..65535 or FP32 of about 0..1; the output
`denoised` has its shape and type. The input `sigma`, (N) or (N, 1), FP32, is the noise level of each image, where white is
1; without it the level is measured.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from limits import Refused

from dae_runtime import Denoiser

HEADER_LENGTH = "Inference-Header-Content-Length"
NOISY, SIGMA, DENOISED = "noisy", "sigma", "denoised"
DTYPES = {"UINT8": np.dtype("u1"), "UINT16": np.dtype("<u2"), "FP32": np.dtype("<f4")}
NAMES = {"uint8": "UINT8", "uint16": "UINT16", "float32": "FP32"}
MOST_IMAGES = 4096


@dataclass(frozen=True)
class Wanted:
    """A request for inference."""

    noisy: npt.NDArray[Any]
    sigma: npt.NDArray[np.float32] | None
    identity: str | None
    binary: bool
    """Whether the answer's tensor is wanted in binary."""


def described(name: str, denoiser: Denoiser, any_channels: bool) -> dict[str, Any]:
    """Return the metadata of a model. Types and channels beyond these are converted."""
    shape = [-1, -1, -1, -1 if any_channels else denoiser.model.channels]
    inputs = [{"name": NOISY, "datatype": "FP32", "shape": shape}]
    if denoiser.model.sigma is not None:
        inputs.append({"name": SIGMA, "datatype": "FP32", "shape": [-1, 1]})
    outputs = [{"name": DENOISED, "datatype": "FP32", "shape": shape}]
    return {"name": name, "versions": ["1"], "platform": "onnxruntime", "inputs": inputs, "outputs": outputs}


def parsed(body: bytes, header_length: str | None, max_pixels: int) -> Wanted:
    """Return what a request asks for.

    Raises:
        Refused: It is malformed, or too large.
    """
    try:
        length = len(body) if header_length is None else int(header_length)
        if not 0 < length <= len(body):
            raise Refused(400, f"{HEADER_LENGTH} is not within the {len(body)} bytes of the request.")
        request = json.loads(body[:length])
        rest = memoryview(body)[length:]
        tensors = {}
        for tensor in request["inputs"]:
            array, used = _tensor(tensor, rest, max_pixels)
            tensors[tensor["name"]], rest = array, rest[used:]
        unknown = sorted(set(map(str, tensors)) - {NOISY, SIGMA})
        if unknown or NOISY not in tensors or len(tensors) < len(request["inputs"]):
            raise Refused(
                400, f"expected the input {NOISY}, and {SIGMA} where wanted, once each; received {sorted(map(str, tensors))}."
            )
        if len(rest):
            raise Refused(400, f"{len(rest)} bytes come after the last tensor.")
        noisy, sigma = tensors[NOISY], tensors.get(SIGMA)
        outputs = request.get("outputs") or []
        if [output["name"] for output in outputs] not in ([], [DENOISED]):
            raise Refused(400, f"the only output is {DENOISED}.")
        asked = [output.get("parameters", {}).get("binary_data") for output in outputs]
        binary = asked[0] if asked and asked[0] is not None else request.get("parameters", {}).get("binary_data_output", False)
        identity = request.get("id")
    except Refused:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise Refused(
            400, f"not a request of the Open Inference Protocol: {type(error).__name__}: {str(error)[:200]}"
        ) from error
    if sigma is not None and sigma.dtype != np.float32:
        raise Refused(400, f"the datatype of {SIGMA} is FP32.")
    levels = None if sigma is None else sigma.reshape(-1)
    if levels is not None and noisy.ndim < 4 and levels.size == 1:
        levels = levels[0]
    return Wanted(noisy, levels, None if identity is None else str(identity)[:1000], bool(binary))


def _tensor(tensor: dict[str, Any], rest: memoryview, max_pixels: int) -> tuple[npt.NDArray[Any], int]:
    """Return an input and how many binary bytes it took; sizes are checked before anything is allocated."""
    name, shape = tensor["name"], tensor["shape"]
    if tensor["datatype"] not in DTYPES:
        raise Refused(400, f"the datatype of {str(name)[:80]!r} is one of {', '.join(DTYPES)}.")
    dtype = DTYPES[tensor["datatype"]]
    if not shape or len(shape) > 4 or not all(type(side) is int and side > 0 for side in shape):
        raise Refused(400, "a shape is a list of one to four positive numbers.")
    count = math.prod(shape)
    if count > 4 * max_pixels or (len(shape) == 4 and shape[0] > MOST_IMAGES):
        raise Refused(413, f"at most {max_pixels} pixels and {MOST_IMAGES} images are taken at once.")
    size = tensor.get("parameters", {}).get("binary_data_size")
    if size is None:
        flat = np.asarray(tensor["data"])
        if flat.size != count or flat.dtype.kind not in "iuf":
            raise Refused(400, f"the data of {str(name)[:80]!r} must be {count} numbers, as the shape says.")
        if dtype.kind == "u" and not (np.isfinite(flat).all() and flat.min() >= 0 and flat.max() <= np.iinfo(dtype).max):
            raise Refused(400, f"the data of {str(name)[:80]!r} does not fit {tensor['datatype']}.")
        return flat.reshape(shape).astype(dtype), 0
    if type(size) is not int or size != count * dtype.itemsize or size > len(rest):
        raise Refused(400, f"the binary data of {str(name)[:80]!r} must be {count * dtype.itemsize} bytes, as the shape says.")
    return np.frombuffer(rest[:size], dtype).reshape(shape), size


def answer(name: str, wanted: Wanted, clean: npt.NDArray[Any]) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of the answer."""
    output: dict[str, Any] = {"name": DENOISED, "datatype": NAMES[clean.dtype.name], "shape": list(clean.shape)}
    data = b""
    if wanted.binary:
        data = np.ascontiguousarray(clean, clean.dtype.newbyteorder("<")).tobytes()
        output["parameters"] = {"binary_data_size": len(data)}
    else:
        output["data"] = clean.ravel().tolist()
    document = {"model_name": name, "model_version": "1", "outputs": [output]}
    if wanted.identity is not None:
        document["id"] = wanted.identity
    text = json.dumps(document).encode()
    if not wanted.binary:
        return text, {"Content-Type": "application/json"}
    return text + data, {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
