"""Plots of a run, drawn into files without a window system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from dae_runtime.system.atomic import atomic_path

from ..data.image_set import FloatArray
from ..judging.history import Row

_DPI = 120
Points = npt.NDArray[Any]


def draw_curves(path: Path, rows: Sequence[Row]) -> None:
    """Draw losses, PSNR, SSIM and the learning rate over the epochs."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    panels = (
        ("loss", ("loss", "val_loss")),
        ("PSNR in dB", ("val_psnr", "val_est_psnr")),
        ("SSIM", ("val_ssim",)),
        ("learning rate", ("lr",)),
    )
    epochs = [row["epoch"] for row in rows]
    for ax, (title, names) in zip(axes, panels, strict=True):
        known = [name for name in names if name in rows[0]]
        for name in known:
            ax.plot(epochs, [row[name] for row in rows], marker=".", label=name)
        ax.set(title=title if known else f"{title}: not known", xlabel="epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.3)
        if known:
            ax.legend()
    _save(figure, path)


def draw_samples(path: Path, images_by_title: Mapping[str, FloatArray]) -> None:
    """Draw rows of images.

    Args:
        path: PNG file to write.
        images_by_title: For each row its title, and (N, H, W, C) images, shown clipped to [0, 1]; N is the same in all.
    """
    columns = max(map(len, images_by_title.values()))
    figure = Figure(figsize=(1.2 * columns + 0.6, 1.3 * len(images_by_title) + 0.1), layout="constrained")
    axes = figure.subplots(len(images_by_title), columns, squeeze=False)
    for (title, images), row in zip(images_by_title.items(), axes, strict=True):
        row[0].set_ylabel(title)
        for image, ax in zip(images, row, strict=True):
            shown = np.clip(image, 0, 1)
            ax.imshow(shown[..., 0] if shown.shape[-1] == 1 else shown, cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
    _save(figure, path)


def draw_latent(path: Path, points: Points, labels: Points | None) -> None:
    """Scatter latent vectors by label, with the convex hull of each class.

    Args:
        path: PNG file to write.
        points: (N, z); more than two dimensions are projected onto their two principal axes, one is drawn along a line.
        labels: (N,) classes, or None for a plain scatter.
    """
    flat, names = to_plane(points)
    figure = Figure(figsize=(8, 8), layout="constrained")
    ax = figure.subplots()
    colors = _colors()
    for number, label in enumerate([None] if labels is None else np.unique(labels).tolist()):
        group = flat if labels is None else flat[labels == label]
        color = colors[number % len(colors)]
        ax.scatter(group[:, 0], group[:, 1], s=4, alpha=0.5, color=color, label=None if label is None else str(label))
        hull = group[convex_hull(group)]
        if label is not None and len(hull) > 2:
            ax.fill(hull[:, 0], hull[:, 1], facecolor=(*color[:3], 0.06), edgecolor=color, linewidth=1)
    ax.set(xlabel=names[0], ylabel=names[1], title="latent vectors of noisy images")
    if labels is not None:
        ax.legend(markerscale=4)
    _save(figure, path)


def to_plane(points: Points) -> tuple[Points, tuple[str, str]]:
    """Return (N, 2) points and the names of their axes."""
    if points.shape[1] == 1:
        return np.column_stack([points[:, 0], np.zeros(len(points))]), ("z 0", "")
    if points.shape[1] == 2:
        return points, ("z 0", "z 1")
    centered = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centered, full_matrices=False)
    return centered @ axes[:2].T, ("first principal axis", "second principal axis")


def convex_hull(points: Points) -> npt.NDArray[np.int64]:
    """Return the indices of the corners of the convex hull of (N, 2) points, counter-clockwise.

    Source:
        Andrew: Another efficient algorithm for convex hulls in two dimensions. Information Processing Letters 9(5), 1979.
    """
    order = np.lexsort((points[:, 1], points[:, 0])).tolist()
    lower, upper = _chain(points, order), _chain(points, order[::-1])
    return np.array(lower[:-1] + upper[:-1] or order[:1], np.int64)


def _chain(points: Points, order: Sequence[int]) -> list[int]:
    chain: list[int] = []
    for index in order:
        while len(chain) > 1 and _turn(points[chain[-2]], points[chain[-1]], points[index]) <= 0:
            chain.pop()
        chain.append(index)
    return chain


def _turn(a: Points, b: Points, c: Points) -> float:
    """Return twice the signed area of a triangle: positive for a turn to the left."""
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _colors() -> Sequence[Any]:
    from matplotlib import colormaps

    return [colormaps["tab10"](index) for index in range(10)]


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png")
