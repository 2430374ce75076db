"""Measure whether the engine saturates sums on this processor; processor flags differ by system and emulator.

onnxruntime's kernel for unsigned times signed 8-bit numbers on x86 without VNNI adds neighboring products in 16 bits that
saturate: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#when-and-why-do-i-need-to-try-u8u8
"""

from __future__ import annotations

import base64
import functools
import zlib
from typing import Any

import numpy as np

EXACT_KERNELS = "session.x64quantprecision"
"""onnxruntime's session key for exact kernels, which are as slow as float32, also with VNNI."""
_PROBE = (
    "c-rMsu}T9$5Z#$<a5Dy379)}r;&pD}2iSO=sTP~GHgbUtIh0GhQ}^~7^8<pPkS`5RBo>NRmd@~)Vjhp-y-~f3*DjqBG=w#yZ45TEM34Q$Q(it6"
    "t-mfxpI3BF5SYSfgTe3v#qN{Lo1#7zYd|_9)*&VujI%^uEy`y*p#Gh&N`HS_&-0~EA%!*U(FrkywIgds12H+6d=WO?Wwn@k+t-lskxmM+y0krw"
    "8K3Jw*f&&~8x-hH2EncH<)4>zN`JT&T)K7ZFR(+_>af?rY4NRgnZ#`-oAEA_$eG-X_@&Gd9V#@MPyyp}$|*17Z_7-Q(B>U2gU#g"
)
"""A 1 x 1 convolution of 16 channels of 255 with weights of 127, whose exact output is 255: ONNX, deflated, base 85."""


@functools.cache
def saturates(engine: Any, exact_kernels: bool = False) -> bool:
    """Return whether 255 * 127 + 255 * 127 comes out as 32767; takes 1 to 7 ms, once in a process.

    Args:
        engine: The onnxruntime module.
        exact_kernels: Whether to ask for `EXACT_KERNELS`.
    """
    options = engine.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if exact_kernels:
        options.add_session_config_entry(EXACT_KERNELS, "1")
    content = zlib.decompress(base64.b85decode(_PROBE))
    session = engine.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return bool(session.run(None, {"x": np.full((1, 16, 1, 4), 255, np.uint8)})[0].min() < 255)
