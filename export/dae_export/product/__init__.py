"""The file that an export writes: its graph, and the contract in it."""

from typing import TYPE_CHECKING

from dae_runtime.system.lazy import lazy_face

if TYPE_CHECKING:
    from .build import Precision, Product, make_product
    from .contract_writer import describe, node_counts, tool_versions
    from .model_file import first_image, golden_sample, with_contract
    from .precisions import choose_precision
    from .variants import choose_float, choose_integer

__all__ = [
    "Precision",
    "Product",
    "choose_float",
    "choose_integer",
    "choose_precision",
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
        "build": ("Precision", "Product", "make_product"),
        "contract_writer": ("describe", "node_counts", "tool_versions"),
        "model_file": ("first_image", "golden_sample", "with_contract"),
        "precisions": ("choose_precision",),
        "variants": ("choose_float", "choose_integer"),
    },
)
