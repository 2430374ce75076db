"""No path on a command line ends in a traceback, a hang, or litter: every option of the three commands that takes one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest

import dae_export.cli
import dae_train.cli
from any_path import CONDITIONS, NOTHING, sound
from dae_runtime.cli.command import command as run_command
from forked import Case, Ended, run_forked

pytestmark = pytest.mark.slow

COMMANDS = {"dae_runtime.cli": run_command, "dae_train.cli": dae_train.cli.command, "dae_export.cli": dae_export.cli.command}
IMPORTED = {
    "dae_runtime.cli": ("pyvips", "onnxruntime", "dae_runtime.folders", "dae_runtime.images"),
    "dae_train.cli": ("matplotlib", "tomli_w", "dae_runtime.images"),
    "dae_export.cli": ("tensorflow", "tf2onnx", "dae_export.pipeline", "dae_export.product"),
}
NO_PATHS = {
    "dae_runtime.cli": {"device", "format", "range", "raw"},
    "dae_train.cli": {"device", "loss", "optimizer", "precision", "preset", "schedule", "supervision"},
    "dae_export.cli": {"name"},
}
"""Options that take text, but no path. Any other one is tested here, a new one, too."""
SUFFIXES = {
    "dae_runtime.cli": {"source": ".png", "output": ".png", "model": ".onnx", "report": ".html", "manifest": ".jsonl"},
    "dae_train.cli": {"data": ".npz", "config": ".toml", "init": ".keras", "teacher": ".keras", "val_groups": ".json"},
    "dae_export.cli": {"source": ".keras", "output": ".onnx", "calibration_data": ".npz", "report": ".html"},
}
"""What is read and written depends on the suffix: both with it and without."""
LINES: dict[str, dict[str, Sequence[str]]] = {
    "dae_runtime.cli": {
        "folder": ("in", "out", "-m", "m.onnx"),
        "file": ("in/0.png", "out.png", "-m", "m.onnx"),
        "resume": ("in", "out", "-m", "m.onnx", "--resume"),
        "raw": ("in.raw", "out.raw", "-m", "m.onnx", "--raw", "8x8x1"),
        "stdin": ("-", "out.png", "-m", "m.onnx"),
        "stdout": ("in/0.png", "-", "-m", "m.onnx"),
        "watch": ("in", "out", "-m", "m.onnx", "--watch"),
    },
    "dae_train.cli": {
        "new": ("data.npz", "-o", "new", "--preset", "v2", "--noise", "gaussian:0.1", "--patch-size", "30"),
        "resume": ("--resume", "-o", "run"),
    },
    "dae_export.cli": {
        "run": ("run", "-o", "new.onnx"),
        "convert": ("int8.onnx", "-o", "new.onnx", "--calibration-data", "noisy.npz"),
        "check": ("int8.onnx", "--check"),
    },
}
"""Sound but for something that ends the slow ones late: a patch size, a damaged network. The first takes every option."""
FEW = {"source", "output", "model", "calibration_data"}
"""What all lines are tried with."""
WATCHED_S = 2.5


HOPELESS = {"no search permission", "a name of 300 bytes", "a path of 5000 bytes", "a zero byte"}
"""What no option takes."""
UNIX_WAYS = {("raw", "a pipe"), ("raw", "an endless device"), ("stdout", "a pipe"), ("raw", "a full device")}
"""Streams wait for the other end of a pipe, as other programs do, and read a device until they are interrupted."""


def text_options(module: str) -> Iterator[click.Parameter]:
    for option in COMMANDS[module].params:
        if isinstance(option.type, click.types.StringParamType | click.Path) and option.name not in NO_PATHS[module]:
            yield option


def with_value(module: str, line: Sequence[str], option: click.Parameter, value: str) -> list[str]:
    """Return a command line with another value of an option or argument."""
    words = list(line)
    if isinstance(option, click.Option):
        found = [words.index(flag) for flag in option.opts if flag in words]
        return [*words[: found[0] + 1], value, *words[found[0] + 2 :]] if found else [*words, option.opts[-1], value]
    command = COMMANDS[module]
    flags = {flag: other for other in command.params if isinstance(other, click.Option) for flag in other.opts}
    arguments, place = [], 0
    while place < len(words):
        if words[place] not in flags:
            arguments.append(place)
        elif not flags[words[place]].is_flag:
            place += 1
        place += 1
    number = [other for other in command.params if isinstance(other, click.Argument)].index(option)
    if number < len(arguments):
        words[arguments[number]] = value
        return words
    return [*words, value]


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return mode and size of everything below a folder."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            status = os.lstat(Path(root, name))
            found[os.path.relpath(Path(root, name), folder)] = (status.st_mode, 0 if name in folders else status.st_size)
    return found


def problems(ended: Ended, before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> list[str]:
    """Return what is wrong with an end."""
    found = [f"code {ended.code}"] if ended.code not in (0, 1, 2, 3, 130) else []
    said = ended.stderr + ended.stdout
    found += [word for word in ("Traceback", "Exception ignored", "Errno", "defect", "\x1b") if word in said]
    lines = [line for line in ended.stderr.splitlines() if line.startswith(("Error: ", "error: "))]
    if len(lines) != (ended.code in (1, 2)):
        found.append(f"{len(lines)} lines of errors")
    left = {path for path in after.keys() - before.keys() if path not in ("out", "out/dae-manifest.jsonl")}
    changed = {path for path, state in before.items() if after.get(path) != state}
    if ended.code not in (0, 130) and (left or changed):  # what is done when a run is interrupted stays
        found.append(f"left {left}, changed {changed}")
    return found + [f"left {path}" for path in after if ".dae-tmp" in path]


@pytest.mark.parametrize(("module", "kind"), [(module, kind) for module, lines in LINES.items() for kind in lines])
def test_one_line_and_nothing_left(tmp_path_factory, module, kind):
    template = tmp_path_factory.mktemp("template")
    sound(template)
    line, root = LINES[module][kind], tmp_path_factory.mktemp("cases")
    cases, about = [], []
    for option in text_options(module):
        first = kind == next(iter(LINES[module]))
        if not first and option.name not in FEW:
            continue
        suffix = ".raw" if kind == "raw" else SUFFIXES[module].get(option.name, "")
        for ending in dict.fromkeys(["", suffix] if first else [suffix]):
            for name, (path, make) in CONDITIONS.items():
                folder = root / str(len(cases))
                shutil.copytree(template, folder)
                if make is not NOTHING:
                    make(folder / (path + ending))
                value = f"fit:{path}{ending}" if option.name == "noise" else path + ending
                stops = kind == "watch" or (kind, name) in UNIX_WAYS
                cases.append(Case(with_value(module, line, option, value), folder, interrupt_s=WATCHED_S if stops else None))
                about.append((option.name, name, tree(folder)))
    ends = run_forked(module, cases, *IMPORTED[module])
    assert len(ends) == len(cases) >= len(CONDITIONS)
    wrong = []
    for case, (option, name, before), ended in zip(cases, about, ends, strict=True):
        found = problems(ended, before, tree(case.folder))
        if name in HOPELESS and ended.code not in (1, 2) and not (option == "suffix" and ended.code == 3):
            found.append(f"code {ended.code}")
        if found:
            wrong.append((option, name, found, ended.stderr[-200:]))
    assert not wrong, "\n".join(map(str, wrong))


def test_empty_names_are_refused(tmp_path_factory):
    """Not taken as the current folder, or as if nothing were given."""
    for module, lines in LINES.items():
        cases = []
        for option in text_options(module):
            if option.name not in ("suffix", "noise"):
                folder = tmp_path_factory.mktemp("empty")
                sound(folder)
                cases.append(Case(with_value(module, next(iter(lines.values())), option, ""), folder))
        before = [tree(case.folder) for case in cases]
        for case, was, ended in zip(cases, before, run_forked(module, cases, *IMPORTED[module]), strict=True):
            assert ended.code in (1, 2), case.arguments
            assert problems(ended, was, tree(case.folder)) == [], case.arguments


STREAMS = [("null", "closed", ""), ("null", "", "closed"), ("null", "full", ""), ("null", "", "full"), ("closed",) * 3]


@pytest.mark.parametrize("module", LINES)
def test_closed_and_full_standard_streams(tmp_path, module):
    sound(tmp_path)
    line = next(iter(LINES[module].values()))
    wrong = with_value(module, line, next(text_options(module)), "nothing")
    cases = [Case(arguments, tmp_path, streams) for arguments in (["--help"], ["--nonsense"], wrong) for streams in STREAMS]
    before = tree(tmp_path)
    for case, ended in zip(cases, run_forked(module, cases, *IMPORTED[module]), strict=True):
        is_lost = case.arguments == ["--help"] and case.streams[1] != ""
        assert ended.code == (1 if is_lost else 0 if case.arguments == ["--help"] else ended.code or 99), case
        assert ended.code in (0, 1, 2), case
        assert not {"Traceback", "Exception ignored"} & set(ended.stderr.replace(":", " ").split()), case
    assert tree(tmp_path) == before
