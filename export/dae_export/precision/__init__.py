"""Other number formats for a float32 graph: INT8, FP16, and 8-bit pixels at its edges."""

from typing import TYPE_CHECKING

from dae_runtime.system.lazy import lazy_face

if TYPE_CHECKING:
    from .fp16 import to_float16
    from .int8 import Ranges, calibrate, quantize
    from .sensitivity import Quantized, quantize_within
    from .uint8_edges import to_uint8

__all__ = [
    "Quantized",
    "Ranges",
    "calibrate",
    "quantize",
    "quantize_within",
    "to_float16",
    "to_uint8",
]

__getattr__ = lazy_face(
    __name__,
    {
        "fp16": ("to_float16",),
        "int8": (
            "Ranges",
            "calibrate",
            "quantize",
        ),
        "sensitivity": (
            "Quantized",
            "quantize_within",
        ),
        "uint8_edges": ("to_uint8",),
    },
)
