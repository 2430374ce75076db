"""The HTML page of a report: one document with style and pictures inside, without scripts."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from importlib import resources

import dae_runtime
from dae_runtime.system.messages import html_text as escape

from ..measure.details import WorstPixel
from .document import ExportReport
from .latency import Timing
from .pictures import Picture, draw
from .words import (
    count_text,
    input_text,
    ms_text,
    percent_text,
    signed_text,
    size_text,
    thread_cell_text,
    threads_text,
    values_text,
)

PRECISIONS = {"fp32": "fp32", "fp16": "fp16", "int8": "INT8"}


def html_page(report: ExportReport) -> str:
    """Return the HTML document."""
    style = (resources.files(__package__) / "page.css").read_text("utf-8")
    parts = (_header, _tiles, _gates, _latency, _quality, _pictures, _worst, _work, _graph, _footer)
    body = "\n".join(text for part in parts if (text := part(report)))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.name)}: export report</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


# --- the top -----------------------------------------------------------------------------------------------------------


def _header(report: ExportReport) -> str:
    edges = "uint8 pixels in and out" if report.io_dtype == "uint8" else "float32 in and out"
    badges = [
        f'<li class="strong">{PRECISIONS[report.precision]}</li>',
        f"<li>{edges}</li>",
        f"<li>{count_text(report.work.macs_per_pixel)} MAC per pixel</li>",
    ]
    return f'<header>\n<h1>{escape(report.name)}</h1>\n<ul class="badges">{"".join(badges)}</ul>\n</header>'


def _tiles(report: ExportReport) -> str:
    tiles = [*_speed_tile(report), *_quality_tile(report), *_size_tile(report), *_work_tile(report)]
    return (
        '<div class="tiles">\n'
        + "\n".join(f'<div class="tile"><b>{big}</b><span>{small}</span></div>' for big, small in tiles)
        + "\n</div>"
    )


def _speed_tile(report: ExportReport) -> Iterator[tuple[str, str]]:
    if not report.timings.rows or _is_emulated(report):
        return
    row = max(report.timings.rows, key=lambda row: (row.images == 1, row.height_px <= 512, row.height_px, row.threads or 0))
    if report.compares:
        yield f"{1 / row.ratio:.2g}&times;", f"the speed of fp32, {input_text(row)}, {threads_text(row)}"
    else:
        yield f"{ms_text(row.file_ms)} <small>ms</small>", f"{input_text(row)}, {threads_text(row)}"


def _quality_tile(report: ExportReport) -> Iterator[tuple[str, str]]:
    judgment = report.judgment
    if judgment.psnr_db and report.compares:
        change = judgment.psnr_db["file"] - judgment.psnr_db["fp32"]
        yield f"{signed_text(change, 3)} <small>dB</small>", f"PSNR against fp32, over {judgment.samples} noisy images"
    elif judgment.psnr_db:
        gain = judgment.psnr_db["file"] - judgment.psnr_db["noisy"]
        yield f"{signed_text(gain, 1)} <small>dB</small>", f"PSNR against the noisy images, over {judgment.samples}"
    elif report.compares:
        yield (
            f"{judgment.agreement_db:.1f} <small>dB</small>",
            f"PSNR of agreement with fp32, over {judgment.samples} images",
        )


def _size_tile(report: ExportReport) -> Iterator[tuple[str, str]]:
    share = f"{report.size_bytes / report.fp32_size_bytes:.0%} of fp32 ({size_text(report.fp32_size_bytes)})"
    yield size_text(report.size_bytes, "<small>", "</small>"), share if report.compares else "on disk"


def _work_tile(report: ExportReport) -> Iterator[tuple[str, str]]:
    if report.precision == "int8":
        yield percent_text(report.work.integer_share), "of the multiplications in integers"
    else:
        yield f"{count_text(report.work.macs_per_pixel)}", "MAC per pixel"


def _gates(report: ExportReport) -> str:
    items = []
    for gate in report.gates:
        sign, state = ("✓", "passed") if gate.passed else ("✗", "failed")
        limit = f"at {'least' if gate.at_least else 'most'} {gate.limit:g}"
        items.append(f'<li class="{state}"><b>{sign}</b> {escape(gate.name)}: {gate.measured:.3g} ({limit})</li>')
    return _section("Gates", f'<ul class="gates">{"".join(items)}</ul>') if items else ""


# --- figures -----------------------------------------------------------------------------------------------------------


def _latency(report: ExportReport) -> str:
    own, compares = _own(report), report.compares
    heads = ["Input", "Threads", *(["fp32 ms", f"{own} ms", "Ratio"] if compares else ["ms"])]
    rows = [
        [input_text(row), thread_cell_text(row), *_times(row, compares), _bars(row, report)] for row in report.timings.rows
    ]
    note = f"Milliseconds for the whole input: medians of models timed in alternation, on {_device(report)}."
    if compares:
        note += f" The ratio is {own} over fp32."
    if report.timings.skipped:
        note += f" {report.timings.skipped} larger cases skipped for lack of time or memory."
    if _is_emulated(report):
        note += " FP16 is meant for CUDA: this processor computes it in float32 with conversions."
    key = f'<span class="key"></span>fp32 <span class="key own"></span>{own}' if compares else ""
    head = "".join(f'<th scope="col">{text}</th>' for text in heads) + f'<th scope="col" class="bars">{key}</th>'
    body = "\n".join(f'<tr><th scope="row">{cells[0]}</th>{"".join(_cell(cell) for cell in cells[1:])}</tr>' for cells in rows)
    table = f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'
    return _section("Latency", f'<p class="note">{escape(note)}</p>', table)


def _times(row: Timing, compares: bool) -> list[str]:
    return [ms_text(row.fp32_ms), f"*{ms_text(row.file_ms)}", f"{row.ratio:.2f}"] if compares else [f"*{ms_text(row.file_ms)}"]


def _bars(row: Timing, report: ExportReport) -> str:
    group = [other for other in report.timings.rows if (other.images, other.height_px) == (row.images, row.height_px)]
    longest = max(max(other.fp32_ms, other.file_ms) for other in group)
    fp32 = _bar(row.fp32_ms / longest, "bar") if report.compares else ""
    return fp32 + _bar(row.file_ms / longest, "bar own")


def _bar(share: float, kind: str) -> str:
    return f'<span class="{kind}" style="width:{share:.1%}"></span>'


def _quality(report: ExportReport) -> str:
    judgment, details = report.judgment, report.judgment.details
    names = ("noisy", "fp32", "file") if report.compares else ("noisy", "file")
    lines = []
    if judgment.psnr_db:
        heads = "".join(f'<th scope="col">{_label(name, report)}</th>' for name in names)
        psnr = "".join(_figure(f"{judgment.psnr_db[name]:.2f}", name) for name in names)
        ssim = "".join(_figure(f"{details.ssim[name]:.4f}", name) for name in names)
        lines.append(
            f'<div class="scroll"><table>\n<thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n'
            f'<tr><th scope="row">PSNR in dB</th>{psnr}</tr>\n<tr><th scope="row">SSIM</th>{ssim}</tr>\n'
            "</tbody>\n</table></div>"
        )
    if report.compares:
        shift = ", ".join(signed_text(value, 3) for value in judgment.color_shift)
        lines.append(
            f"<p>Agreement of {_own(report)} with fp32: {judgment.agreement_db:.2f} dB PSNR. "
            f"Mean color shift {shift} of 255{' (red, green, blue)' if len(judgment.color_shift) == 3 else ''}.</p>"
        )
    return _section("Quality", f'<p class="note">{escape(_samples_note(report))}</p>', *lines)


def _samples_note(report: ExportReport) -> str:
    judgment, details = report.judgment, report.judgment.details
    note = f"{judgment.samples} noisy images from {details.source}"
    if not judgment.psnr_db:
        return note + ", without clean references."
    part = f" SSIM over the first {details.ssim_samples}." if details.ssim_samples < judgment.samples else ""
    return note + (", none of them used for calibration." if report.precision == "int8" else ".") + part


def _work(report: ExportReport) -> str:
    work = report.work
    lines = [f"<p>{count_text(work.macs_per_pixel)} MAC per pixel (multiply-accumulate operations)."]
    if report.compares and round(work.macs_per_pixel) != round(work.fp32_macs_per_pixel):
        lines[0] += f" The float32 model needs {count_text(work.fp32_macs_per_pixel)}."
    lines[0] += "</p>"
    if report.precision == "int8":
        share = percent_text(work.integer_share)
        label = f"{share} of the multiplications in integers"
        lines.append(
            f'<div class="split" role="img" aria-label="{label}"><span style="width:{work.integer_share:.1%}"></span></div>'
        )
        lines.append(f'<p><span class="key own"></span>{share} in integers <span class="key"></span>the rest in float</p>')
        lines += _float_layers(report)
    return _section("Arithmetic", *lines)


def _float_layers(report: ExportReport) -> Iterator[str]:
    layers = report.work.float_layers
    if not layers:
        yield "<p>Every layer with weights computes in integers.</p>"
        return
    items = "".join(f"<li><b>{percent_text(layer.share)}</b> <code>{escape(layer.name)}</code></li>" for layer in layers)
    yield f'<h3>Layers in float</h3>\n<ul class="kinds">{items}</ul>'


def _graph(report: ExportReport) -> str:
    total = sum(report.node_counts.values())
    before = f" The float32 graph has {report.fp32_nodes}." if report.compares else ""
    items = "".join(f"<li><b>{count}</b>{escape(kind)}</li>" for kind, count in report.node_counts.items())
    return _section("Graph", f'<p class="note">{total} nodes.{before}</p>', f'<ul class="kinds">{items}</ul>')


def _footer(report: ExportReport) -> str:
    return f"<footer>Measured on {escape(report.machine)}. Written by dae-export {escape(dae_runtime.__version__)}.</footer>"


# --- pictures ----------------------------------------------------------------------------------------------------------


def _pictures(report: ExportReport) -> str:
    rows = [_views(draw(stack), report, f"sample {number}") for number, stack in enumerate(report.judgment.details.shown, 1)]
    note = "Test images; large ones are cropped to the center."
    if report.compares:
        note += f" The difference is {_own(report)} minus fp32, amplified; gray is none."
    return _section("Before and after", f'<p class="note">{note}</p>', *rows)


def _worst(report: ExportReport) -> str:
    if not report.compares:
        return ""
    rows = []
    for worst in report.judgment.details.worst:
        place = f"Image {worst.image}, row {worst.row}, column {worst.column}"
        rows.append(f"<h3>{place}: {worst.difference:.1f} of 255</h3>")
        rows.append(_views(draw(worst.crop), report, place.lower(), worst))
    note = f"Largest differences between {_own(report)} and fp32. Values from 0 to 255."
    return _section("Worst pixels", f'<p class="note">{note}</p>', *rows)


def _views(picture: Picture, report: ExportReport, what: str, worst: WorstPixel | None = None) -> str:
    names = ("noisy", "fp32", "file", "clean", "difference") if report.compares else ("noisy", "file", "clean")
    figures = (_view(name, picture, report, what, worst) for name in names if name in picture.png)
    return f'<div class="views">\n{"".join(figures)}</div>'


def _view(name: str, picture: Picture, report: ExportReport, what: str, worst: WorstPixel | None) -> str:
    label = _label(name, report) + (f" &times; {picture.amplified}" if name == "difference" else "")
    source = "data:image/png;base64," + base64.b64encode(picture.png[name]).decode("ascii")
    image = f'<img src="{source}" alt="{label}, {what}" width="{picture.width_px}" height="{picture.height_px}">'
    value = f" <b>{values_text(worst.values[name])}</b>" if worst and name in worst.values else ""
    mark = _mark(picture, worst) if worst else ""
    return f'<figure><div class="frame">{image}{mark}</div><figcaption>{label}{value}</figcaption></figure>\n'


def _mark(picture: Picture, worst: WorstPixel) -> str:
    left, top = (worst.crop_column + 0.5) / picture.width_px, (worst.crop_row + 0.5) / picture.height_px
    return f'<span class="mark" style="left:{left:.2%};top:{top:.2%};width:{4 / picture.width_px:.2%};aspect-ratio:1"></span>'


# --- pieces ------------------------------------------------------------------------------------------------------------


def _section(title: str, *content: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n" + "\n".join(content) + "\n</section>"


def _own(report: ExportReport) -> str:
    """Return the name of the file in comparisons with the float32 model."""
    return "this file" if report.precision == "fp32" and report.compares else PRECISIONS[report.precision]


def _label(name: str, report: ExportReport) -> str:
    labels: Mapping[str, str] = {
        "noisy": "Noisy",
        "fp32": "fp32",
        "file": "This file" if _own(report) == "this file" else f"{_own(report)}, this file",
        "clean": "Clean",
        "difference": "Difference",
    }
    return labels[name]


def _cell(text: str) -> str:
    if text.startswith("<"):
        return f'<td class="bars">{text}</td>'
    return f'<td class="best">{text[1:]}</td>' if text.startswith("*") else f"<td>{text}</td>"


def _figure(text: str, name: str) -> str:
    return f'<td class="best">{text}</td>' if name == "file" else f"<td>{text}</td>"


def _is_emulated(report: ExportReport) -> bool:
    """Return whether times are meaningless: onnxruntime emulates FP16 on CPUs."""
    return report.precision == "fp16" and report.timings.device == "cpu"


def _device(report: ExportReport) -> str:
    return f"the CPU ({report.machine})" if report.timings.device == "cpu" else report.timings.device
