"""The HTML page of a run's report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from ..system.messages import counted
from ..system.messages import html_text as escape
from .figures import ReportedImage
from .verdict import summary_text

if TYPE_CHECKING:
    from ..contract import Contract
    from .summary import RunSummary

_FOLDER = Path(__file__).parent
SMALLEST_SHOWN_PX = 320
"""Display width of tiny pictures."""

MARK = '<meta name="generator" content="dae-toolkit'
"""Marks a report in its first lines; the version follows."""

_MEANINGS = {
    "PSNR": "How near the picture is to the clean reference, before and after: 1 dB more is a fifth less noise, 6 dB half.",
    "SSIM": "How alike the structure of the picture and of the clean reference is, before and after: 1 is equal.",
    "white noise": "The strength of the noise from pixel to pixel before and after, estimated: its standard deviation, where "
    "white is 255. Of the smooth noise of a camera it sees about a fifth.",
    "level given": "How strong the model was told that the noise is, where white is 255: --sigma, or measured.",
    "removed": "What the difference between before and after looks like: noise alone, or parts of the picture too.",
    "with image": "How much the removed part follows the picture, from -1 to 1: near 0 if it is noise alone.",
    "with detail": "Whether more was removed where the picture has detail, from -1 to 1: above 0 if detail went, else below.",
    "neighbors": "How much the removed part follows itself one pixel on: 0 for white noise, more for the noise of a camera.",
}
"""What the figures mean, shown where the pointer rests on them; by the start of their names."""
_EXPLANATION = """
<p><b>White noise</b> is the estimated standard deviation of the noise from pixel to pixel, on the scale 0 to 255. Fine texture
counts as noise, so a sharp clean photograph has 1 to 3; clipping at black and white lowers it, and of the smooth noise of a
camera it sees a fifth.</p>
<p><b>Removed</b> is the difference between before and after, amplified. It should look like pure noise; visible image
structure means that the model removed detail too. <i>With image</i> is its correlation with the result; <i>with detail</i>
compares its strength with the detail of the result, and is above 0 where detail went; <i>neighbors</i> is its correlation with
itself one pixel to the right (→) and below (↓). The first and the last are near 0 for white noise.</p>
"""


def page(summary: RunSummary, images: Sequence[ReportedImage]) -> str:
    """Return the page.

    Args:
        summary: The figures of the whole run.
        images: The images shown.
    """
    names = escape(summary.title or " and ".join(model.name for model in summary.models))
    cards = "\n".join(_card(number, image) for number, image in enumerate(images))
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
{MARK} {escape(summary.version)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Denoised with {names}</title>
<style>
{(_FOLDER / "page.css").read_text("utf-8")}</style>
<header>
<h1>Denoised with {names}</h1>
<p class="about">{_about(summary)}</p>
<p class="verdict">{escape(summary_text([image.verdict for image in images]))}</p>
{_tiles(summary, images)}
{_notices(summary, images)}
</header>
<main>
{cards}
</main>
<section class="how"><h2>How to read this</h2>{_EXPLANATION}</section>
<footer>edge-denoiser {escape(summary.version)}</footer>
<script>
{(_FOLDER / "page.js").read_text("utf-8")}</script>
</html>
"""


def _about(summary: RunSummary) -> str:
    return escape(" · ".join([*(["; ".join(map(_model, summary.models))] * bool(summary.models)), f"ran on {summary.device}"]))


def _model(model: Contract) -> str:
    color = "gray" if model.channels == 1 else "RGB"
    return f"{model.preset}, {color}, {model.precision}, trained on {model.noise or 'unknown noise'}"


def _tiles(summary: RunSummary, images: Sequence[ReportedImage]) -> str:
    failed = f", {summary.failed} failed" if summary.failed else ""
    kept = f", {summary.kept} of them before" if summary.kept else ""
    whole = "this run" if summary.kept else "in all"
    tiles = [(f"{summary.done}", f"images denoised{kept}{failed}"), (_duration(summary.seconds), whole)]
    mean = summary.mean_scores
    if mean:
        psnr = f"{_number(mean['noisy_psnr_db'], 2)} → {_number(mean['denoised_psnr_db'], 2)} dB"
        tiles.append((psnr, f"PSNR, mean of {summary.compared}"))
        tiles.append((f"{mean['noisy_ssim']:.3f} → {mean['denoised_ssim']:.3f}", f"SSIM, mean of {summary.compared}"))
    pairs = [(i.noisy_sigma, i.denoised_sigma) for i in images]
    known = [(before, after) for before, after in pairs if before is not None and after is not None]
    if known:
        before, after = (255 * fmean(column) for column in zip(*known, strict=True))
        tiles.append((f"{before:.1f} → {after:.1f}", "white noise, of 255"))
    return '<dl class="tiles">' + "".join(_pair(name, value) for value, name in tiles) + "</dl>"


def _notices(summary: RunSummary, images: Sequence[ReportedImage]) -> str:
    parts = []
    warned = sum(image.warning is not None for image in images)
    if warned:
        text = f"{warned} of the {len(images)} images below have noise that this model was not trained on."
        parts.append(f'<p class="notice"><b>Noise outside the training range.</b> {text}</p>')
    if summary.worst is not None:
        name, fall_db = summary.worst
        text = f"{summary.fallen} of {summary.compared} compared are further from the reference than before, most"
        parts.append(f'<p class="notice"><b>PSNR fell.</b> {text} {escape(name)}: by {_number(fall_db, 2)} dB.</p>')
    if summary.done > len(images):
        parts.append(f'<p class="about">{len(images)} of {summary.done} images are shown, taken evenly from the run.</p>')
    if summary.edited:
        text = f"{counted(summary.edited, 'output')} of an earlier run changed since by another program: not judged here."
        parts.append(f'<p class="about">{text} dae-run replaces them with --overwrite.</p>')
    more = summary.failed - len(summary.errors)
    parts += _list("Failed", [*summary.errors, *([f"and {more} more"] if more > 0 else [])])
    parts += _list("Not shown", summary.not_shown)
    parts += _list("Not kept", (f"{name}: {counted(files, 'file')}" for name, files in summary.lost.items()))
    return "\n".join(parts)


def _list(title: str, texts: Iterable[str]) -> list[str]:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return [f'<details class="notice" open><summary>{title}</summary><ul>{items}</ul></details>'] if items else []


def _card(number: int, image: ReportedImage) -> str:
    name = escape(Path(image.name).name)
    cropped = "" if image.crop_px == (image.height_px, image.width_px) else ", shown at 100 % where it changed most"
    verdict = image.verdict
    fall = f"PSNR fell by {_number(verdict.fall_db, 2)} dB: the result is further from the reference than before."
    fell = f'<p class="warning">{fall}</p>' if verdict.fall_db else ""
    warning = f'<p class="warning">{escape(image.warning)}</p>' if image.warning else ""
    classes = " ".join(["tiny"] * image.tiny + ["fell"] * bool(verdict.fall_db))
    return f"""<article{f' class="{classes}"' if classes else ""} aria-labelledby="i{number}">
<h2 id="i{number}" title="{escape(image.name)}">{name}</h2>
<p class="about">{image.width_px} &times; {image.height_px}{cropped}</p>
{_slider(image, name)}
{_strip(image, name)}
<p class="verdict">{escape(verdict.text)}</p>
{fell}{warning}
<dl class="figures">{_figures(image)}</dl>
</article>"""


def _slider(image: ReportedImage, name: str) -> str:
    height, width = image.crop_px
    shown = f"--w:{SMALLEST_SHOWN_PX if image.tiny else width}px; aspect-ratio:{width}/{height}"
    return f"""<div class="compare" style="{shown}">
{_image(image, "after", f"{name} after denoising")}
{_image(image, "before", f"{name} before denoising")}
<span class="tag left" aria-hidden="true">before</span><span class="tag right" aria-hidden="true">after</span>
<input type="range" min="0" max="100" value="50" step="1" aria-label="{name}: how much is shown as before denoising">
<span class="line" aria-hidden="true"></span>
</div>"""


def _strip(image: ReportedImage, name: str) -> str:
    captions = {"residual": f"removed, &times;&nbsp;{image.gain:.2g}", "reference": "reference"}
    figures = [
        f"<figure>{_image(image, kind, f'{name}: {caption}')}<figcaption>{caption}</figcaption></figure>"
        for kind, caption in captions.items()
        if kind in image.pictures
    ]
    return f'<div class="strip">{"".join(figures)}</div>'


def _image(image: ReportedImage, kind: str, alt: str) -> str:
    height, width = image.crop_px
    return f'<img class="{kind}" src="{image.pictures[kind]}" width="{width}" height="{height}" alt="{alt}">'


def _figures(image: ReportedImage) -> str:
    pairs = []
    if image.scores:
        scores = image.scores
        pairs.append(("PSNR", f"{_number(scores.noisy_psnr_db, 2)} → {_number(scores.denoised_psnr_db, 2)} dB"))
        pairs.append(("SSIM", f"{scores.noisy_ssim:.3f} → {scores.denoised_ssim:.3f}"))
    if image.noisy_sigma is not None and image.denoised_sigma is not None:
        pairs.append(("white noise, of 255", f"{255 * image.noisy_sigma:.1f} → {255 * image.denoised_sigma:.1f}"))
    if image.level is not None:
        pairs.append(("level given, of 255", f"{255 * image.level:.1f}"))
    residual = image.residual
    pairs.append(("removed", residual.verdict))
    pairs.append(("with image", _signed(residual.with_image)))
    pairs.append(("with detail", _signed(residual.with_detail)))
    pairs.append(("neighbors", f"→ {_signed(residual.horizontal)}, ↓ {_signed(residual.vertical)}"))
    return "".join(_pair(name, value) for name, value in pairs)


def _pair(name: str, value: str) -> str:
    meaning = _MEANINGS.get(name.partition(",")[0], "")
    title = f' title="{escape(meaning)}"' if meaning else ""
    return f"<div{title}><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "∞"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
