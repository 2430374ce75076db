"""The report of an export: measured, and written as one HTML page."""

from typing import TYPE_CHECKING

from dae_runtime.system.lazy import lazy_face

if TYPE_CHECKING:
    from .document import ExportReport, Gate
    from .measured import measure_report, write_html

__all__ = [
    "ExportReport",
    "Gate",
    "measure_report",
    "write_html",
]

__getattr__ = lazy_face(
    __name__,
    {
        "document": (
            "ExportReport",
            "Gate",
        ),
        "measured": (
            "measure_report",
            "write_html",
        ),
    },
)
