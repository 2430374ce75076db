"""The benchmark as a page of Markdown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from dae_export.measure.latency import Latency
from dae_export.product import tool_versions
from dae_runtime.contract import Shape
from dae_runtime.system.processor import cpu_features, cpu_name

from .comparison import DNCNN, FFDNET, NLM, Compared, Comparison
from .contenders import PLAIN
from .measured import Bench
from .profile import PROFILE_RUNS, NodeTime, by_kind

MULTIPLYING = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Suffixes of the multiplying node kinds; onnxruntime may add the prefix QLinear or Fused."""
SMALLEST_SHARE = 0.01
"""Nodes with a smaller share of the time are listed together."""


def page(bench: Bench, model: Path | None = None) -> str:
    """Return the whole page.

    Args:
        bench: The results.
        model: The argument of the command, if any.
    """
    compared = comparison_section(bench.comparison) if bench.comparison else ()
    return "\n".join([*_head(bench, model), *_tables(bench), *compared, *_profiles(bench)]) + "\n"


def comparison_page(comparison: Comparison) -> str:
    """Return a page with only the comparison with other denoisers."""
    lines = ["# Our networks beside other denoisers", "", *_machine(comparison.threads), "", *comparison_section(comparison)]
    return "\n".join(lines).rstrip() + "\n"


def comparison_section(comparison: Comparison) -> Iterator[str]:
    """Yield the lines of the comparison with other denoisers."""
    yield f"## Beside other denoisers: {_images(comparison.shape)}"
    yield ""
    yield "Alone with `python -m dae_tools.export_bench --edge-only`. Published networks by their shape, with random weights,"
    yield "in onnxruntime; non-local means on 8-bit pixels. Ratios are those of the medians."
    yield ""
    yield from comparison_table(comparison)
    yield ""
    yield "- DnCNN: Zhang, Zuo, Chen, Meng, Zhang, IEEE Transactions on Image Processing 26(7), 2017."
    yield "- FFDNet: Zhang, Zuo, Zhang, IEEE Transactions on Image Processing 27(9), 2018."
    yield "- Non-local means: Buades, Coll, Morel, Image Processing On Line 1, 2011; OpenCV's fast version."
    yield ""


def comparison_table(comparison: Comparison) -> Iterator[str]:
    """Yield a table of denoisers with their ratios to FFDNet's shape, DnCNN's shape and non-local means."""
    yield f"| | median, ms | fastest, ms | of {FFDNET} | of {DNCNN} | of {NLM} | MAC per pixel | file, KiB |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, one in comparison.denoisers.items():
        ratios = (comparison.ratio(name, peer) for peer in (FFDNET, DNCNN, NLM))
        cells = ("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
        times = f"{one.latency.median_ms:.1f} | {one.latency.fastest_ms:.1f}"
        yield f"| {name} | {times} | {' | '.join(cells)} | {_costs(one)} |"


def _costs(one: Compared) -> str:
    macs = "-" if one.macs_per_pixel is None else f"{one.macs_per_pixel:,.0f}"
    return f"{macs} | {'-' if one.size_bytes is None else f'{one.size_bytes / 1024:.0f}'}"


def _head(bench: Bench, model: Path | None) -> Iterator[str]:
    command = f"python -m dae_tools.export_bench {model.name if model else ''}".strip()
    yield "# Benchmarks"
    yield ""
    yield f"Written by `{command} --output docs/benchmarks.md` (`make bench`): do not edit."
    yield ""
    yield f"- Network: {bench.network}."
    yield from _machine(bench.threads)
    forms = ", ".join(f"`{name}`: {form}" for name, form in bench.forms.items())
    yield f"- Fastest form of the graph on this processor: {forms}."
    yield ""
    yield "All contenders run in one process and take turns; ratios are those of the medians. Before the clock starts, each"
    yield "must give the pixels that Keras gives. Times move from machine to machine and from hour to hour, ratios less so."
    yield ""


def _machine(threads: int) -> Iterator[str]:
    versions = {**tool_versions(), **_further_versions()}
    yield f"- Processor: {cpu_name()} ({', '.join(cpu_features()) or 'features unknown'}), {threads} threads each."
    yield f"- Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}."


def _further_versions() -> dict[str, str]:
    found = {}
    for package in ("openvino", "opencv-python-headless"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _tables(bench: Bench) -> Iterator[str]:
    for shape, times in bench.times.items():
        yield f"## {_images(shape)}"
        yield ""
        yield from _table(times, shape[0])
        yield ""


def _table(times: dict[str, Latency], images: int) -> Iterator[str]:
    each = images > 1
    yield f"| | median, ms | fastest, ms |{' median per image, ms |' if each else ''} of {PLAIN} |"
    yield f"|---|---|---|{'---|' if each else ''}---|"
    for name, latency in times.items():
        ratio = latency.median_ms / times[PLAIN].median_ms
        per_image = f" {latency.median_ms / images:.3f} |" if each else ""
        yield f"| {name} | {latency.median_ms:.1f} | {latency.fastest_ms:.1f} |{per_image} {ratio:.2f} |"


def _images(shape: Shape) -> str:
    count, height, width, channels = shape
    color = "gray" if channels == 1 else "RGB"
    return f"{count} image{'s' if count > 1 else ''} of {height} x {width}, {color}"


def _profiles(bench: Bench) -> Iterator[str]:
    yield "## Where the time goes"
    yield ""
    yield f"onnxruntime's own profile on {_images(bench.profiled)}: the fastest of {PROFILE_RUNS} runs of each node, after its"
    yield "fusions. The profiler itself costs a little."
    yield ""
    for name, nodes in bench.profiles.items():
        total = sum(node.ms for node in nodes)
        yield f"### {name} ({total:.1f} ms)"
        yield ""
        yield _bound(bench, name)
        yield ""
        yield "| kind | nodes | ms | share |"
        yield "|---|---|---|---|"
        for kind, ms in by_kind(nodes).items():
            yield f"| {kind} | {sum(node.kind == kind for node in nodes)} | {ms:.2f} | {ms / total:.0%} |"
        yield ""
        yield "| node | kind | output | ms |"
        yield "|---|---|---|---|"
        yield from _rows(nodes, total)
        yield ""


def _bound(bench: Bench, name: str) -> str:
    """Return the lower bound for any arrangement of pixels."""
    ms = sum(node.ms for node in bench.profiles[name] if node.kind.endswith(MULTIPLYING))
    giga = bench.macs[name] / 1e9
    plain = bench.times[bench.profiled][PLAIN].fastest_ms
    return (
        f"The multiplications alone, {giga:.3g} GMAC, take {ms:.1f} ms ({giga / ms * 1e3:.0f} GMAC/s). That is "
        f"{ms / plain:.2f} of the fastest run of {PLAIN} ({plain:.1f} ms): no other way of moving the pixels can undercut it."
    )


def _rows(nodes: Iterable[NodeTime], total: float) -> Iterator[str]:
    rest = [node for node in nodes if node.ms < SMALLEST_SHARE * total]
    for node in nodes:
        if node not in rest:
            yield f"| {node.name} | {node.kind} | {' x '.join(map(str, node.shape))} | {node.ms:.2f} |"
    if rest:
        yield f"| {len(rest)} more | | | {sum(node.ms for node in rest):.2f} |"
