"""The report of a run: an HTML page."""

from typing import TYPE_CHECKING

from ..system.lazy import lazy_face

if TYPE_CHECKING:
    from .collector import RunReport, is_report

__all__ = [
    "RunReport",
    "is_report",
]

__getattr__ = lazy_face(__name__, {"collector": ("RunReport", "is_report")})
