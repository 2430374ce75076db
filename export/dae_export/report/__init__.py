"""The report of an export: measurements and one HTML page."""

from typing import TYPE_CHECKING

from dae_runtime.system.lazy import lazy_face

if TYPE_CHECKING:
    from .document import ExportReport
    from .measured import measure_report
    from .page import html_page

__all__ = [
    "ExportReport",
    "html_page",
    "measure_report",
]

__getattr__ = lazy_face(
    __name__,
    {
        "document": ("ExportReport",),
        "measured": ("measure_report",),
        "page": ("html_page",),
    },
)
