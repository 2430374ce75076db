"""A model beside other denoisers on the same pairs, in a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from dae_runtime.inference import Denoiser
from dae_runtime.pixels.arrays import Array, as_batch, color_channels, convert
from dae_runtime.pixels.scores import mean_scores, score

from .methods import METHODS, Method
from .scores import Pair


@dataclass
class Entry:
    """One method with one setting, and how it did."""

    title: str
    denoise: Callable[[Array], Array]
    pairs: list[Pair] = field(default_factory=list)
    seconds: float = 0.0
    """For all images together."""

    def add(self, name: str, noisy: Array, clean: Array) -> None:
        """Denoise and score one more image, rounded to the dtype of the noisy one."""
        started_s = time.perf_counter()
        denoised = self.denoise(noisy)
        self.seconds += time.perf_counter() - started_s
        self.pairs.append(Pair(name, score(clean, noisy, convert(denoised, noisy.dtype)), None))

    @property
    def psnr_db(self) -> float:
        """The mean over the images."""
        return mean_scores([pair.scores for pair in self.pairs]).denoised_psnr_db


def compare(
    denoiser: Denoiser,
    names: Sequence[str],
    pairs: Iterable[tuple[str, Array, Array]],
    sigma: float | None = None,
    ensemble: int = 1,
) -> list[Entry]:
    """Denoise each image with the model and with other methods in turn.

    Args:
        denoiser: An opened model; the first entry.
        names: Keys of `METHODS`.
        pairs: As from `read_pairs`; alpha is left out.
        sigma: Noise level to tell the model, where white is 1; None to let it be measured.
        ensemble: For the model, as for `Denoiser.denoise`.

    Returns:
        The model, then for each method its usual settings and the best single one for these pairs.
    """
    ours = Entry(denoiser.model.name, lambda noisy: denoiser.denoise(noisy, sigma=sigma, ensemble=ensemble))
    usual = {name: _entries(METHODS[name], METHODS[name].usual) for name in names}
    tried = {name: _entries(METHODS[name], METHODS[name].tried) for name in names}
    every = [ours, *(entry for group in (usual, tried) for entries in group.values() for entry in entries)]
    for number, (name, noisy, clean) in enumerate(pairs):
        before, after = _colors(noisy), _colors(clean)
        if not number:  # the first call of each loads code
            for entry in [ours, *(entries[0] for entries in usual.values())]:
                entry.denoise(before[:32, :32])
        for entry in every:
            entry.add(name, before, after)
    found = [ours]
    for name in names:
        best = max([*usual[name], *tried[name]], key=lambda entry: entry.psnr_db)
        found += [*usual[name], Entry(f"{best.title}, best for all", best.denoise, best.pairs, best.seconds)]
    return found


def table(entries: Sequence[Entry]) -> list[str]:
    """Return the lines of a table; times are ratios to that of the first entry."""
    width = max(len(entry.title) for entry in entries)
    noisy = mean_scores([pair.scores for pair in entries[0].pairs])
    lines = [
        f"{'':{width}}    PSNR    SSIM   worst gain   made worse   time",
        f"{'noisy':{width}}  {noisy.noisy_psnr_db:6.2f}  {noisy.noisy_ssim:.4f}",
    ]
    for entry in entries:
        mean, gains = mean_scores([pair.scores for pair in entry.pairs]), [pair.gain_db for pair in entry.pairs]
        worse = f"{sum(gain < 0 for gain in gains)} of {len(gains)}"
        quality = f"{mean.denoised_psnr_db:6.2f}  {mean.denoised_ssim:.4f}  {min(gains):+8.2f} dB   {worse:>10}"
        lines.append(f"{entry.title:{width}}  {quality}  {entry.seconds / entries[0].seconds:5.1f}")
    return lines


def _entries(method: Method, settings: Sequence[float | None]) -> list[Entry]:
    def title(setting: float | None) -> str:
        return f"{method.title}, {f'estimated {method.unit}' if setting is None else f'{method.unit} {setting:g}'}"

    return [Entry(title(setting), partial(_call, method, setting)) for setting in settings]


def _call(method: Method, setting: float | None, noisy: Array) -> Array:
    return method.denoise(noisy, setting)


def _colors(image: Array) -> Array:
    """Return (H, W), or (H, W, 3), without alpha."""
    batch = as_batch(image)
    return np.ascontiguousarray(batch[0, ..., : color_channels(batch.shape[3])].squeeze())
