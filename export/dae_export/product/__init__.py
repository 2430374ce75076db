"""The exported file: its graph and its contract."""

from typing import TYPE_CHECKING

from dae_runtime.system.lazy import lazy_face

if TYPE_CHECKING:
    from .build import Product, Strategy, make_product
    from .contract_writer import describe, tool_versions
    from .conversion import Converted, convert_file
    from .destination import MODEL_SUFFIXES, REPORT_SUFFIXES, check_destination, write_file
    from .hub_card import write_card
    from .model_file import first_image, golden_sample, with_contract
    from .programs import ProgramFile, check_target, convert_for, find_target, sidecar_of
    from .strategies import choose_strategy
    from .variants import choose_float, choose_integer

__all__ = [
    "MODEL_SUFFIXES",
    "REPORT_SUFFIXES",
    "Converted",
    "Product",
    "ProgramFile",
    "Strategy",
    "check_destination",
    "check_target",
    "choose_float",
    "choose_integer",
    "choose_strategy",
    "convert_file",
    "convert_for",
    "describe",
    "find_target",
    "first_image",
    "golden_sample",
    "make_product",
    "sidecar_of",
    "tool_versions",
    "with_contract",
    "write_card",
    "write_file",
]

__getattr__ = lazy_face(
    __name__,
    {
        "build": ("Strategy", "Product", "make_product"),
        "contract_writer": ("describe", "tool_versions"),
        "conversion": ("Converted", "convert_file"),
        "destination": ("MODEL_SUFFIXES", "REPORT_SUFFIXES", "check_destination", "write_file"),
        "hub_card": ("write_card",),
        "model_file": ("first_image", "golden_sample", "with_contract"),
        "programs": ("ProgramFile", "check_target", "convert_for", "find_target", "sidecar_of"),
        "strategies": ("choose_strategy",),
        "variants": ("choose_float", "choose_integer"),
    },
)
