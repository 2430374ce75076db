"""How the files of a run are to be denoised, and what came of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..images import MAX_PIXELS, Image
from ..inference import DEFAULT_CONTROLS, Controls
from ..pixels.scores import Scores
from .places import storage_of
from .plan import Job
from .storage import Stamp


@dataclass(frozen=True)
class JobOptions:
    """How to denoise the files of a run."""

    batch_size: int | None = None
    """Files per thread and batch; those of equal size run as one. None: up to 32, fewer if they are large."""
    controls: Controls = DEFAULT_CONTROLS
    """The user's choices about the results."""
    max_pixels: int = MAX_PIXELS
    """Larger images fail."""
    max_memory_mb: int | None = None
    """Memory limit in MiB; give the denoiser the same. Images are then denoised one at a time."""
    value_range: tuple[float, float] | None = None
    """Values of black and white of TIFFs with float or signed pixels; None refuses those."""
    quality: int | None = None
    """Of JPEG, AVIF and lossy WebP outputs, 1 to 100; None for that of a JPEG input, else 95, or 90 for AVIF."""
    with_references: bool = False
    """Compare with the reference of each job; a job without one gets a `reference_error`."""
    fail_fast: bool = False
    """Start no further file once one has failed."""

    def read(self, path: Path, before_allocate: Callable[[int], None] | None = None) -> Image:
        """Read an image as `read_image` does, with these limits and this range."""
        return storage_of(path).read(path, self.max_pixels, before_allocate, self.value_range)


@dataclass(frozen=True)
class FileResult:
    """The result of one file."""

    job: Job
    error: str | None
    """Reason of the failure; None for success."""
    seconds: float
    """Time to read, denoise (its share of the batch), write and compare, waiting included."""
    scores: Scores | None = None
    """PSNR and SSIM, if compared with a reference."""
    reference_error: str | None = None
    """Reason why it could not be compared with a requested reference."""
    unasked_loss: bool = False
    """Whether a lossless image was written lossy, because its file name has the suffix of a lossy format."""
    depth_loss: bool = False
    """Whether a 16-bit image was reduced to 8 bits, the most that its format holds."""
    level: float | None = None
    """Noise level that the model was given, measured or told, where white is 1; None for models that are given none."""
    output_stamp: Stamp | None = None
    """Stamp of the output as written; None without output."""
    may_pass: bool = False
    """Whether the failure may pass without a change of the file: no space, no memory, no permission."""
    lost: tuple[str, ...] = ()
    """What people call the metadata of the input that the output does not have, such as `thumbnail`."""
