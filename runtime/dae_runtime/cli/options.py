"""The options of `dae-run` and the request, model and limits that follow from them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from ..models import DEFAULT_MODEL, DEFAULT_MODELS, bundled_models, find_models

if TYPE_CHECKING:
    from ..folders import FolderRequest
    from ..inference import Controls, Denoiser
    from ..jobs.cluster import Cluster

CLUSTER = ("cluster", "cluster_workers", "gpus_per_worker")
"""Options for the files of a run on a cluster."""


@dataclass(frozen=True)
class RunOptions:
    """The options of `dae-run` as described in `--help`, without IN and OUT."""

    model: str | None
    device: str
    threads: int | None
    batch_size: int | None
    tile_size: int | None
    max_memory_mb: int | None
    max_megapixels: float | None
    strength: float
    sigma: float | None
    luma: float
    color: float
    detail: float
    bits: int | None
    ensemble: str
    range: str | None
    recursive: bool
    format: str | None
    suffix: str
    quality: int | None
    reference: str | None
    report: str | None
    files_from: str | None
    shard: str | None
    cluster: str | None
    cluster_workers: int | None
    gpus_per_worker: float
    overwrite: bool
    dry_run: bool
    manifest: str | None
    resume: bool
    retry_failed: bool
    watch: bool
    raw: str | None
    fail_fast: bool
    verbose: bool
    quiet: bool

    @property
    def max_pixels(self) -> int | None:
        """Largest number of pixels of an image; None for the default."""
        return None if self.max_megapixels is None else int(self.max_megapixels * 1e6)

    @property
    def chosen_model(self) -> str:
        """Name or path of the model to use."""
        return DEFAULT_MODEL if self.model is None else self.model

    @property
    def controls(self) -> Controls:
        """What was asked for of the results."""
        from ..inference import Controls

        sigma = None if self.sigma is None else self.sigma / 255
        return Controls(sigma, self.strength, self.luma, self.color, self.detail, self.bits, int(self.ensemble))

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Values of black and white of float and signed TIFFs."""
        from ..images import parse_range

        return None if self.range is None else parse_range(self.range)

    def refuse(self, where: str, *names: str) -> None:
        """Raise click.UsageError if one of the named options is given."""
        for name in names:
            if getattr(self, name):
                raise click.UsageError(f"--{name.replace('_', '-')} cannot be used with {where}; leave it out.")

    def request(self, source: str, output: str) -> FolderRequest:
        """Return the request of a folder run."""
        from ..folders import FolderRequest

        return FolderRequest(
            source,
            output,
            recursive=self.recursive,
            suffix=self.suffix,
            format=self.format,
            reference=self.reference,
            **asdict(self.controls),
            value_range=self.value_range,
            quality=self.quality,
            batch_size=self.batch_size,
            max_pixels=self.max_pixels,
            max_memory_mb=self.max_memory_mb,
            overwrite=self.overwrite,
            fail_fast=self.fail_fast,
            resume=self.resume,
            retry_failed=self.retry_failed,
            manifest=self.manifest,
            report=self.report,
            files_from=self.files_from,
            shard=self.shard,
        )

    def chosen_cluster(self) -> Cluster | None:
        """Return the cluster that does the work; None for this process.

        Raises:
            InputError: An option cannot be used with or without it.
            MissingDependencyError: Ray is not installed.
        """
        from ..jobs.cluster import Cluster

        if self.cluster is None:
            self.refuse("no --cluster", "cluster_workers", "gpus_per_worker")
            return None
        found = Cluster(
            self.cluster, self.cluster_workers, self.threads or 1, self.gpus_per_worker, self.device, self.tile_size
        )
        found.check(self.max_memory_mb)
        return found

    def model_paths(self) -> list[Path]:
        """Return the files of the requested model, or of the default, which may be two."""
        if self.model is None and not set(DEFAULT_MODELS.values()) & set(bundled_models()):
            if self.dry_run and not (self.resume or self.retry_failed):
                return []  # nothing will be opened
            raise click.UsageError("no bundled model; give one with -m MODEL, an .onnx file from dae-export.")
        return list(dict.fromkeys(find_models(self.chosen_model).values()))

    def open_denoiser(self, files: int = 1) -> Denoiser:
        """Open the model for a run over `files` files."""
        self.model_paths()  # reports a wrong name before the engine is loaded
        from ..inference import Denoiser
        from ..jobs.run import threads_for

        if self.cluster is not None:  # this process denoises nothing
            return Denoiser(self.chosen_model, "cpu", 1)
        # A memory limit leaves no room for several images at once.
        threads = self.threads or (threads_for(files) if self.max_memory_mb is None else None)
        return Denoiser(self.chosen_model, self.device, threads, self.tile_size, self.max_memory_mb)


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Turn an InputError into a usage error."""
    try:
        yield
    except InputError as error:
        raise click.UsageError(str(error)) from error
