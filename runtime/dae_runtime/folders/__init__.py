"""Folder runs from request to outcome, as `dae-run IN OUT` performs them."""

from typing import TYPE_CHECKING

from ..system.lazy import lazy_face

if TYPE_CHECKING:
    from .levels import FileLevel, SharedLevel, measure_files, shared_levels
    from .outcome import Failure, FolderOutcome, Tally
    from .planning import FolderPlan, plan_request
    from .request import FolderRequest
    from .resume import manifest_of, merge_manifests, open_manifest, run_settings
    from .run import Cluster, job_options, open_run, run_folder

__all__ = [
    "Cluster",
    "Failure",
    "FileLevel",
    "FolderOutcome",
    "FolderPlan",
    "FolderRequest",
    "SharedLevel",
    "Tally",
    "job_options",
    "manifest_of",
    "measure_files",
    "merge_manifests",
    "open_manifest",
    "open_run",
    "plan_request",
    "run_folder",
    "run_settings",
    "shared_levels",
]

__getattr__ = lazy_face(
    __name__,
    {
        "levels": ("FileLevel", "SharedLevel", "measure_files", "shared_levels"),
        "outcome": ("Failure", "FolderOutcome", "Tally"),
        "planning": ("FolderPlan", "plan_request"),
        "request": ("FolderRequest",),
        "resume": ("manifest_of", "merge_manifests", "open_manifest", "run_settings"),
        "run": ("Cluster", "job_options", "open_run", "run_folder"),
    },
)
