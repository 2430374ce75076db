"""The doctor: what is installed here, what the machine can do, and what is wrong."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass

from . import __version__
from .codec import codec_versions
from .engine import CUDA_PROVIDER, cuda_obstacle, engine_clash, installed_engines, load_engine
from .errors import MissingDependencyError
from .models import bundled_models
from .processor import available_cpus, cpu_features, cpu_name


@dataclass(frozen=True)
class Diagnosis:
    """Facts and problems, for people."""

    facts: tuple[tuple[str, str], ...]
    """Name and value."""
    problems: tuple[str, ...]
    """What is wrong and what to do about it; empty if all is well."""


def examine() -> Diagnosis:
    """Look at the installation and the machine. Never raises; what cannot be loaded is a problem."""
    facts: list[tuple[str, str]] = list(_basic_facts())
    problems: list[str] = []
    try:
        facts.append(("images", codec_versions()))
    except MissingDependencyError as error:
        problems.append(str(error))
    try:
        engine = load_engine()
    except MissingDependencyError as error:
        problems.append(str(error))
    else:
        facts.append(("onnxruntime", f"{engine.__version__} ({', '.join(installed_engines()) or 'package unknown'})"))
        facts.append(("providers", ", ".join(engine.get_available_providers())))
        obstacle = cuda_obstacle(engine)
        facts.append(("cuda", obstacle or "looks usable; dae-run --self-test --device cuda proves it"))
        if obstacle and CUDA_PROVIDER in engine.get_available_providers():
            problems.append(f"onnxruntime-gpu cannot use a GPU here: {obstacle}")
    if clash := engine_clash():
        problems.append(clash)
    return Diagnosis(tuple(facts), tuple(problems))


def _basic_facts() -> Iterator[tuple[str, str]]:
    yield "dae-toolkit", __version__
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield "numpy", importlib.metadata.version("numpy")
    yield "processor", f"{cpu_name()} ({', '.join(cpu_features()) or 'flags unknown'})"
    yield "threads", f"{available_cpus()} of {os.cpu_count()} CPUs may be used"
    yield "models", ", ".join(bundled_models()) or "none bundled"
