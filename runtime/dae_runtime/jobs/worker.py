"""The work on each file: read, denoise, write, compare; an error concerns its file only."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from ..errors import CancelledError, DaeError, ImageError, MissingDependencyError
from ..images import Image
from ..inference import Controls, Denoiser, by_shape, windows
from ..pixels.advice import level_of_pages
from ..pixels.arrays import Array
from ..system.messages import describe_error, may_pass
from ..system.threads import Gate
from .losses import compare, loses_depth, loses_unasked
from .manifest import Manifest, ManifestError
from .places import storage_of
from .plan import Job
from .protection import Protection
from .results import FileResult, JobOptions
from .storage import Finished, Stamp

logger = logging.getLogger(__name__)


@dataclass
class _Work:
    """A file being processed."""

    job: Job
    source_stamp: Stamp = (0, 0)
    """Of the input before it was read, to detect later changes."""
    seconds: float = 0.0
    image: Image | None = None
    clean: Array | None = None
    error: str | None = None
    levels: list[float] | None = None
    """Of each page, the noise level advised; None where it is told, or the model is given none."""
    may_pass: bool = False
    output_stamp: Stamp | None = None
    output_sha256: str | None = None
    lost: tuple[str, ...] = ()
    """Metadata that the output does not have."""

    @property
    def values(self) -> int:
        return 0 if self.image is None else int(self.image.pixels.size)

    @property
    def pixels(self) -> Array:
        assert self.image is not None  # files without an image are not denoised
        return self.image.page_pixels

    def fail(self, error: Exception) -> None:
        """Record the failure and release the image."""
        self.refuse(f"{os.fspath(self.job.source)}: {describe_error(error)}", error)

    def refuse(self, text: str, error: Exception) -> None:
        """Record a failure with its text and release the image."""
        self.error, self.may_pass = text, may_pass(error)
        self.image = self.clean = None


@dataclass
class Worker:
    """The shared state of the threads of one run."""

    denoiser: Denoiser
    options: JobOptions
    slots: threading.Semaphore
    """Limits how many images are denoised at once."""
    gate: Gate
    """Limits the bytes of images held at once."""
    may_replace: Callable[[Job], bool] | None
    """Called right before an existing output would be replaced; None: never replace."""
    protection: Protection
    manifest: Manifest | None
    cancel: Callable[[], bool] | None
    """Called before each file and each run of the engine; true ends the run."""
    step: Callable[[], None] | None
    """Called before each run of the engine."""
    finished: Callable[[FileResult], None] | None
    """Called after each file."""
    stop: threading.Event = field(default_factory=threading.Event)

    def process(self, jobs: list[Job]) -> list[FileResult]:
        """Read, denoise and write a few files. Files not reached before a stop have no result."""
        results: list[FileResult] = []
        try:
            for window in windows(map(self._load, jobs), lambda work: work.values, self.options.batch_size):
                self._denoise(window)
                for work in window:
                    results.append(self._finish(work))
                    if self.finished is not None:
                        self.finished(results[-1])
                    if self.options.fail_fast and work.error is not None:
                        self.stop.set()
                self.gate.leave()
        except CancelledError:
            pass
        finally:
            self.gate.leave()
        return results

    def _load(self, job: Job) -> _Work:
        self._check_stop()
        work, start = _Work(job), time.perf_counter()
        try:
            work.source_stamp = storage_of(job.source).stamp(job.source)
            # Two copies: as read, and denoised.
            work.image = self.options.read(job.source, lambda size: self.gate.enter(2 * size, self.stop))
        except MissingDependencyError:
            raise
        except ImageError as error:
            work.refuse(str(error), error)
        except Exception as error:
            logger.debug("%s", job.source, exc_info=True)
            work.fail(error)
        work.seconds = time.perf_counter() - start
        return work

    def _denoise(self, window: list[_Work]) -> None:
        if not (good := [work for work in window if work.image is not None]):
            return
        start = time.perf_counter()
        with self.slots:
            try:
                self._denoise_together(good)
            except CancelledError:
                raise
            except (DaeError, MemoryError) as error:
                for work in good:  # find the failing image and keep the others
                    self._denoise_one(work) if len(good) > 1 else work.fail(error)
        share = (time.perf_counter() - start) / len(good)
        for work in good:
            work.seconds += share

    def _advise(self, good: list[_Work]) -> None:
        if self.options.controls.sigma is not None:
            return
        for work in good:
            pages = work.pixels if work.pixels.ndim == 4 else [work.pixels]
            levels = [self.denoiser.advise(page, self.options.controls.bits) for page in pages]
            known = [level for level in levels if level is not None]
            work.levels = known if len(known) == len(levels) else None

    def _denoise_together(self, good: list[_Work]) -> None:
        self._advise(good)
        images = [work.pixels for work in good]
        if len(images) > 1 and all(image.ndim < 4 for image in images):
            cleaned = list(by_shape(images, self._call, [work.levels[0] if work.levels else None for work in good]))
        else:  # only a comparison needs the noisy pixels again, and what is tried once more because it failed with others
            overwrite = len(images) == 1 and not self.options.with_references
            cleaned = [self._call(image, work.levels, overwrite) for image, work in zip(images, good, strict=True)]
        for work, clean in zip(good, cleaned, strict=True):
            work.clean = clean

    def _denoise_one(self, work: _Work) -> None:
        try:
            self._denoise_together([work])
        except CancelledError:
            raise
        except (DaeError, MemoryError) as error:
            work.fail(error)

    def _call(self, image: Array, levels: list[float] | None, overwrite: bool = False) -> Array:
        controls = asdict(self.options.controls) | ({} if levels is None else {"sigma": levels})
        caller = threading.get_ident()

        def cancel() -> bool:
            if self.step is not None and threading.get_ident() == caller:  # another thread asks while a run lasts
                self.step()
            return self.is_stopped()

        return self.denoiser.denoise(image, **controls, cancel=cancel, overwrite_input=overwrite)

    def _finish(self, work: _Work) -> FileResult:
        self._check_stop()
        start = time.perf_counter()
        job, scores, reference_error, loss, depth_loss = work.job, None, None, False, False
        if work.image is not None and work.clean is not None:
            self._write(work, work.image.with_pixels(work.clean))
        if work.error is None and work.image is not None and work.clean is not None:
            loss, depth_loss = loses_unasked(job, work.image), loses_depth(job, work.image)
            if self.options.with_references:
                scores, reference_error = compare(job, work.image, work.clean, self.options.read)
        level = _level(work, self.options.controls)
        work.image = work.clean = None
        seconds = work.seconds + time.perf_counter() - start
        if self.manifest is not None:
            digest = None if work.error else work.output_sha256
            self.manifest.record(job, work.source_stamp, work.error, seconds, digest, level, work.lost, work.output_stamp)
        stamp = None if work.error else work.output_stamp
        return FileResult(
            job, work.error, seconds, scores, reference_error, loss, depth_loss, level, stamp, work.may_pass, work.lost
        )

    def _write(self, work: _Work, image: Image) -> None:
        try:
            work.lost, work.output_stamp = storage_of(work.job.destination).save(
                work.job.destination,
                image,
                may_replace=lambda: self._may_replace(work.job),
                begin=lambda finished: self._begin(work, finished),
                quality=self.options.quality,
            )
        except (MissingDependencyError, ManifestError):
            raise
        except ImageError as error:
            work.refuse(str(error), error)
        except OSError as error:
            folder = os.fspath(work.job.destination.parent)
            work.refuse(f"{folder}: the folder cannot be created: {error.strerror or error}.", error)
        except Exception as error:
            logger.debug("%s", work.job.destination, exc_info=True)
            work.refuse(f"{os.fspath(work.job.destination)}: {describe_error(error)}", error)

    def _begin(self, work: _Work, finished: Finished) -> None:
        """Note the output before it gets its name: a file that comes there later is another's."""
        self.protection.note(work.job, finished.identity)
        if self.manifest is not None:
            work.output_sha256 = finished.digest()
            self.manifest.begin(work.job, work.source_stamp, work.output_sha256)

    def _may_replace(self, job: Job) -> bool:
        self.protection.check(job)
        return self.may_replace is not None and self.may_replace(job)

    def is_stopped(self) -> bool:
        """Tell whether the run should end."""
        if self.cancel is not None and self.cancel():
            self.stop.set()
        return self.stop.is_set()

    def _check_stop(self) -> None:
        if self.is_stopped():
            raise CancelledError("the run was stopped.")


def _level(work: _Work, controls: Controls) -> float | None:
    """Return the noise level that a file's image was given; of several pages the root of the mean square."""
    if work.error is not None:
        return None
    if work.levels is None:
        return controls.sigma
    level = level_of_pages(work.levels)
    logger.debug("%s: noise level %.2f of 255", work.job.source, 255 * level)
    return level
