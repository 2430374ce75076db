"""List the public names of the packages with their signatures: `python -m dae_tools.public_names > tests/public.txt`.

Public names are those in `__all__` of a package. A change of that file is a change of the API.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

PACKAGES = ("dae_runtime", "dae_train", "dae_export")
LONGEST_LINE = 120
_MARKS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def public_names() -> str:
    """Return a paragraph for each public name: its kind, signature and members."""
    modules = [importlib.import_module(package) for package in PACKAGES]
    described = [
        _described(f"{module.__name__}.{name}", getattr(module, name)) for module in modules for name in module.__all__
    ]
    return "\n\n".join("\n".join(lines) for lines in described)


def _described(name: str, value: object) -> Iterator[str]:
    if inspect.isfunction(value):
        yield _call(name, value)
    elif not inspect.isclass(value):
        yield f"{name}: {type(value).__name__}"
    elif issubclass(value, Exception):
        yield f"class {name}({', '.join(base.__name__ for base in value.__bases__)})"
    else:
        yield _call(f"class {name}", value)
        members = {member: kind for base in reversed(value.__mro__) for member, kind in vars(base).items()}
        for member, kind in sorted(members.items()):
            if not member.startswith("_"):
                yield from _member(f"    {member}", kind)


def _member(name: str, kind: object) -> Iterator[str]:
    kind = kind.__func__ if isinstance(kind, classmethod | staticmethod) else kind
    if inspect.isfunction(kind):
        yield _call(name, kind)
    elif isinstance(kind, property) and kind.fget is not None:
        yield f"{name}: {inspect.signature(kind.fget).return_annotation}"


def _call(name: str, function: Callable[..., Any]) -> str:
    """Return the signature; a long one with a line per parameter."""
    signature = inspect.signature(function)
    parameters = [*_parameters(signature)]
    gives = (
        "" if signature.return_annotation in (None, "None", inspect.Signature.empty) else f" -> {signature.return_annotation}"
    )
    line = f"{name}({', '.join(parameters)}){gives}"
    if len(line) <= LONGEST_LINE:
        return line
    margin = " " * (len(name) - len(name.lstrip()))
    return "\n".join([f"{name}(", *(f"{margin}    {parameter}," for parameter in parameters), f"{margin}){gives}"])


def _parameters(signature: inspect.Signature) -> Iterator[str]:
    named_only = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not named_only:
            named_only = True
            yield "*"
        kind = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        yield f"{_MARKS.get(parameter.kind, '')}{parameter.name}{kind}{default}"


if __name__ == "__main__":
    print(public_names())
