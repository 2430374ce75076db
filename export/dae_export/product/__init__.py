"""The file that an export writes: its graph, and the contract in it."""

from typing import TYPE_CHECKING

from dae_runtime.system.lazy import lazy_face

if TYPE_CHECKING:
    from .build import Product, make_product
    from .contract_writer import describe, node_counts, tool_versions
    from .model_file import first_image, golden_sample, with_contract
    from .variants import choose_float, choose_integer

__all__ = [
    "Product",
    "choose_float",
    "choose_integer",
    "describe",
    "first_image",
    "golden_sample",
    "make_product",
    "node_counts",
    "tool_versions",
    "with_contract",
]

__getattr__ = lazy_face(
    __name__,
    {
        "build": (
            "Product",
            "make_product",
        ),
        "contract_writer": (
            "describe",
            "node_counts",
            "tool_versions",
        ),
        "model_file": (
            "first_image",
            "golden_sample",
            "with_contract",
        ),
        "variants": (
            "choose_float",
            "choose_integer",
        ),
    },
)
