"""Benchmark of `dae-run` over generated files: wall time, peak memory, start time."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dae_runtime.errors import DaeError
from dae_runtime.images import Image, disable_cache, read_image, write_image
from dae_runtime.inference import Denoiser
from dae_runtime.pixels.arrays import Array
from dae_runtime.system.processor import available_cpus

from .speed import Figure

MEMORY_LIMIT_MB = 600
_PHOTO = (512, 768, 3)
_MARGIN_PX = 128
_CROP_PX = 512
_PEAK_CODE = """
import sys
from pathlib import Path
from dae_runtime.cli import main
peak = Path(sys.argv.pop(1))
try:
    main()
finally:
    status = Path("/proc/self/status").read_text()
    peak.write_text(status.split("VmHWM:")[1].split()[0])
"""


@dataclass(frozen=True)
class Sizes:
    """Size of the measurement."""

    photos: int
    small_files: int
    side: int
    rounds: int


def folder_figures(model: str, plain: str | None, sizes: Sizes, folder: Path) -> Iterator[Figure]:
    """Compare a folder run with half of the CPU time of inference and codec alone, and with a simple loop."""
    source = folder / "photos"
    _write_folder(source, sizes.photos, _PHOTO)
    inference, codec = _cpu_seconds(model, source, folder / "codec")
    cpus = available_cpus()
    bound = (inference + codec) / cpus
    walls = [_run_wall("-q", "--overwrite", "-m", model, source, folder / "clean") for _ in range(2)]
    note = f"{min(walls):.2f} s; inference {inference:.2f} and codec {codec:.2f} CPU s, on {cpus} CPUs"
    yield Figure(f"dae-run over {sizes.photos} photographs / bound", min(walls) / bound, "ratio", 1.15, note=note)
    if plain is not None:
        loop = _pillow_loop(plain, source, folder / "loop")
        yield Figure("obvious loop (Pillow, plain float32) / dae-run", loop / min(walls), "ratio", 2.0, True, f"{loop:.2f} s")


def memory_figures(model: str, sizes: Sizes, folder: Path) -> Iterator[Figure]:
    """Measure the peak memory for a very large image, and for very many small ones."""
    large, clean = folder / "large.png", folder / "large-clean.png"
    write_image(large, Image(_noisy((sizes.side, sizes.side))))
    start = time.perf_counter()
    peak = peak_mib(folder, "--device", "cpu", "--max-memory-mb", MEMORY_LIMIT_MB, "-m", model, large, clean)
    note = f"{time.perf_counter() - start:.0f} s, --max-memory-mb {MEMORY_LIMIT_MB}"
    yield Figure(f"peak memory, {sizes.side}x{sizes.side} gray PNG", peak, "MiB", 900, note=note)
    yield Figure("largest difference from untiled, on a crop", _crop_difference(model, large, clean), "of 255", 0)
    few = max(1, sizes.small_files // 100)
    peaks = []
    for count in (few, sizes.small_files):
        _write_folder(folder / f"small{count}", count, (28, 28))
        peaks.append(
            peak_mib(folder, "--device", "cpu", "-m", model, folder / f"small{count}", folder / f"small{count}-clean")
        )
    note = f"{peaks[1]:.0f} and {peaks[0]:.0f} MiB"
    yield Figure(f"peak memory, {sizes.small_files} small files / {few}", peaks[1] / peaks[0], "ratio", 1.2, note=note)


def start_figures(model: str, sizes: Sizes, folder: Path) -> Iterator[Figure]:
    """Measure import and start time: the fastest of the rounds."""
    image = folder / "start.png"
    write_image(image, Image(_noisy((512, 512))))
    numpy_s = _fastest_process(sizes.rounds, "-c", "import numpy")
    ours_s = _fastest_process(sizes.rounds, "-c", "import numpy, dae_runtime; dae_runtime.Denoiser")
    yield Figure("import dae_runtime and its Denoiser, over numpy", (ours_s - numpy_s) * 1e3, "ms", 60)
    yield Figure("dae-run --version", _fastest_process(sizes.rounds, "-m", "dae_runtime", "--version") * 1e3, "ms", 150)
    arguments = ("-m", "dae_runtime", "-q", "--overwrite", "-m", model, image, folder / "started.png")
    yield Figure("first 512x512 image, from the start of the process", _fastest_process(sizes.rounds, *arguments), "s", 0.6)


def _noisy(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Return uint8 waves with noise, built row by row to save memory."""
    rng = np.random.default_rng(seed)
    columns = np.arange(shape[1])[:, None] if len(shape) == 3 else np.arange(shape[1])
    result = np.empty(shape, np.uint8)
    for row in range(shape[0]):
        clean = 128 + 60 * np.sin(row / (20 + seed % 17)) * np.cos(columns / (31 + seed % 13))
        result[row] = np.clip(clean + 20 * rng.standard_normal(shape[1:], np.float32), 0, 255)
    return result


def _write_folder(folder: Path, count: int, shape: tuple[int, ...]) -> None:
    folder.mkdir()
    for index in range(count):
        write_image(folder / f"{index:05}.png", Image(_noisy(shape, index)))


def _cpu_seconds(model: str, source: Path, target: Path) -> tuple[float, float]:
    """Return the CPU seconds of the inference alone, on one thread each, and of the codec alone."""
    disable_cache()
    target.mkdir()
    marks = np.zeros(4)
    spent = np.zeros(3)
    with Denoiser(model, "cpu", 1) as denoiser:
        for path in sorted(source.iterdir()):
            marks[0] = time.process_time()
            image = read_image(path)
            marks[1] = time.process_time()
            clean = image.with_pixels(denoiser.denoise(image.pixels))
            marks[2] = time.process_time()
            write_image(target / path.name, clean)
            marks[3] = time.process_time()
            spent += np.diff(marks)
    return float(spent[1]), float(spent[0] + spent[2])


def _pillow_loop(plain: str, source: Path, target: Path) -> float:
    """Return the wall seconds of a simple loop, without process start."""
    pillow = importlib.import_module("PIL.Image")  # for this comparison only; the package does not need it
    session = importlib.import_module("onnxruntime").InferenceSession(plain, providers=["CPUExecutionProvider"])
    node = session.get_inputs()[0]
    target.mkdir()
    start = time.perf_counter()
    for path in sorted(source.iterdir()):
        noisy = np.asarray(pillow.open(path), np.float32) / 255
        batch = noisy[None] if node.shape[3] == 3 else noisy.transpose(2, 0, 1)[..., None]
        clean = session.run(None, {node.name: batch})[0]
        clean = clean[0] if node.shape[3] == 3 else clean[..., 0].transpose(1, 2, 0)
        pillow.fromarray((clean * 255).clip(0, 255).round().astype(np.uint8)).save(target / path.name)
    return time.perf_counter() - start


def _crop_difference(model: str, source: Path, clean: Path) -> float:
    """Return the largest difference between the result and a crop denoised as a whole."""
    with Denoiser(model, "cpu") as denoiser:
        step = denoiser.model.alignment_px
        middle = read_image(source).pixels.shape[0] // 2 // step * step
        margin = min(_MARGIN_PX // step * step, middle)
        crop = slice(middle - margin, middle + _CROP_PX + margin)
        whole = denoiser.denoise(read_image(source).pixels[crop, crop])
        inner = slice(margin, margin + _CROP_PX)
        written = read_image(clean).pixels[middle : middle + _CROP_PX, middle : middle + _CROP_PX]
        return float(np.abs(whole[inner, inner].astype(int) - written).max())


def _run_wall(*arguments: object) -> float:
    start = time.perf_counter()
    _process("-m", "dae_runtime", *arguments)
    return time.perf_counter() - start


def peak_mib(folder: Path, *arguments: object) -> float:
    """Run `dae-run` in a process of its own, quietly, and return its peak resident memory in MiB.

    The peak that the system tells a parent of its child counts that of the parent itself.

    Args:
        folder: Where a file for the figure may lie.
        arguments: Of `dae-run`.
    """
    peak = folder / "peak"
    _process("-c", _PEAK_CODE, peak, "-q", *arguments)
    return int(peak.read_text()) / 1024


def _fastest_process(rounds: int, *arguments: object) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        _process(*arguments)
        times.append(time.perf_counter() - start)
    return min(times)


def _process(*arguments: object) -> None:
    result = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise DaeError(f"a measured process ended with {result.returncode}: {result.stderr.strip()}")
