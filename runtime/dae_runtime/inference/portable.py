"""A Denoiser that travels: the content of its models, to be opened where none of their files exist."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import DaeError
from ..models import bundled_models
from .denoiser import Denoiser


@dataclass(frozen=True)
class PortableModel:
    """A model file."""

    name: str
    """Of the file, without its suffix; empty for none."""
    content: bytes
    sha256: str

    @classmethod
    def read(cls, source: bytes | Path) -> PortableModel:
        """Read a model, given as its content or its path."""
        name, content = ("", source) if isinstance(source, bytes) else (source.stem, source.read_bytes())
        return cls(name, content, hashlib.sha256(content).hexdigest())

    @property
    def source(self) -> bytes | Path:
        """The content, or the path of the bundled model that it is.

        Raises:
            DaeError: It was changed on the way.
        """
        if hashlib.sha256(self.content).hexdigest() != self.sha256:
            raise DaeError(f"the model {self.name} has arrived damaged.")
        bundled = bundled_models().get(self.name)
        return bundled if bundled is not None and bundled.read_bytes() == self.content else self.content


@dataclass(frozen=True)
class PortableDenoiser:
    """The models of a Denoiser, and how to open them. Picklable."""

    models: Mapping[int, PortableModel]
    """By the keys of DEFAULT_MODELS."""
    device: str
    threads: int
    tile_px: int | None
    version: str

    @classmethod
    def of(cls, denoiser: Denoiser, device: str, threads: int, tile_px: int | None) -> PortableDenoiser:
        """Read the models of a denoiser; the other arguments are for the opening."""
        read = {source: PortableModel.read(source) for source in denoiser.sources}
        models = {colors: read[source] for colors, source in denoiser._sources.items()}
        return cls(models, device, threads, tile_px, _version())

    def open(self) -> Denoiser:
        """Open the models.

        Raises:
            DaeError: A model was changed on the way, or is of another version of this package; or as for `Denoiser`.
        """
        if self.version != (here := _version()):
            raise DaeError(f"edge-denoiser is {here}, but the command is of {self.version}. Install the same.")
        sources = {colors: model.source for colors, model in self.models.items()}
        return Denoiser(sources, self.device, self.threads, self.tile_px)


def _version() -> str:
    import importlib.metadata  # takes 20 ms: not at import of this package

    try:
        return importlib.metadata.version("edge-denoiser")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
