"""Precision of a graph: INT8, FP16, and uint8 input and output."""

from typing import TYPE_CHECKING

from dae_runtime.system.lazy import lazy_face

if TYPE_CHECKING:
    from .dequantize import to_float32
    from .exactness import LayerSums, check_sums, describe_sums, is_exact, require_exact
    from .fp16 import to_float16
    from .int8 import QUANTIZED_KINDS, Ranges, calibrate, put_weights, quantize
    from .integer_weights import IntegerWeights, float_weights, round_weights
    from .scales import near_halves, round_sums_alike
    from .sensitivity import Quantized, quantize_within
    from .uint8_edges import to_uint8

__all__ = [
    "QUANTIZED_KINDS",
    "IntegerWeights",
    "LayerSums",
    "Quantized",
    "Ranges",
    "calibrate",
    "check_sums",
    "describe_sums",
    "float_weights",
    "is_exact",
    "near_halves",
    "put_weights",
    "quantize",
    "quantize_within",
    "require_exact",
    "round_sums_alike",
    "round_weights",
    "to_float16",
    "to_float32",
    "to_uint8",
]

__getattr__ = lazy_face(
    __name__,
    {
        "dequantize": ("to_float32",),
        "exactness": ("LayerSums", "check_sums", "describe_sums", "is_exact", "require_exact"),
        "fp16": ("to_float16",),
        "int8": ("QUANTIZED_KINDS", "Ranges", "calibrate", "put_weights", "quantize"),
        "integer_weights": ("IntegerWeights", "float_weights", "round_weights"),
        "scales": ("near_halves", "round_sums_alike"),
        "sensitivity": ("Quantized", "quantize_within"),
        "uint8_edges": ("to_uint8",),
    },
)
