"""What `dae-run` does without IN and OUT."""

from __future__ import annotations

import os
from dataclasses import replace

import click

from ..errors import InputError
from ..models import bundled_models, describe_models, find_model
from ..system.command import EXIT_FAILED, echo
from ..system.messages import counted
from .options import RunOptions, usage_errors


def check_models(options: RunOptions) -> int:
    """Check that each chosen model computes here what its exporter computed; return the exit code."""
    from ..diagnosis.self_test import failure_cause, self_test

    paths = list(bundled_models().values()) if options.model is None else options.model_paths()
    if not paths:
        raise InputError("this installation has no bundled models. Give a file with --model.")
    failed = False
    for path in paths:
        with replace(options, model=os.fspath(path)).open_denoiser() as denoiser:
            outcome = self_test(denoiser)
            echo(f"{denoiser.model.name} on {denoiser.device}: {outcome}: {'passed' if outcome.passed else 'FAILED'}")
            if not outcome.passed:
                echo(f"  {failure_cause(denoiser)}", err=True)
        failed |= not outcome.passed
    return EXIT_FAILED if failed else 0


def print_contract(model: str) -> int:
    """Print the contract of a model."""
    from ..engine.opening import contract_document

    click.echo(contract_document(find_model(model)))  # as it is: a program reads it
    return 0


def merge_shards(output: str) -> int:
    """Merge the manifests of the shards in a folder."""
    from ..folders import merge_manifests

    with usage_errors():
        path, count = merge_manifests(output)
    echo(f"{path}: {counted(count, 'manifest')} of shards merged into it")
    return 0


def list_models() -> int:
    """Print the bundled models."""
    models = describe_models()
    for model in models:
        echo(str(model))
    if not models:
        echo("no models are bundled with this installation")
    return 0


def print_diagnosis() -> int:
    """Print the installation and its problems; return the exit code."""
    from ..diagnosis.doctor import examine

    diagnosis = examine()
    for name, value in diagnosis.facts:
        echo(f"{name:12} {value}")
    for advice in diagnosis.advice:
        echo(f"advice: {advice}")
    for problem in diagnosis.problems:
        echo(f"problem: {problem}")
    if not diagnosis.problems:
        echo("no problems found")
    return EXIT_FAILED if diagnosis.problems else 0
