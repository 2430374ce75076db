"""Models on the Hugging Face Hub, by addresses such as `hf://owner/repository`. docs/hub.md describes them.

huggingface_hub does the transfer, and keeps its cache and its environment variables. Nothing that is loaded is executed: a
file is one ONNX graph, and is checked like any other when it is opened.
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..errors import MissingDependencyError, ModelError

PREFIX = "hf://"
MOST_BYTES = 2**29
"""Of a model file; more is refused before it is loaded."""
_ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/@]+))?(/(?P<file>[^@]+\.onnx))?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Address:
    """A parsed address."""

    text: str
    repo: str
    revision: str
    file: str | None


@cache
def hub_model(address: str) -> Path:
    """Return the path of a model of the Hub in the local cache; it is loaded where it is not there or has changed.

    The commit and the SHA-256 are logged. Without a network the cached file is taken. One look per process and address.

    Args:
        address: `hf://owner/repository[@revision][/file.onnx]`; the file may be left out where there is only one.

    Raises:
        ModelError: The address is wrong, there is no such file, access is refused, it is too large, or it is damaged.
        MissingDependencyError: huggingface_hub is not installed.
    """
    wanted, hub = _parsed(address), _library()
    try:
        path = _loaded(hub, wanted)
    except ModelError:
        raise
    except hub.errors.HfHubHTTPError as error:  # the Hub has answered
        raise ModelError(f"{address} cannot be loaded: {_reason(hub, error)}") from error
    except Exception as error:
        raise ModelError(f"{address} cannot be loaded: {_first_line(error)}. Try again, or give a local file.") from error
    _check_file(wanted, path)
    return path


def _parsed(address: str) -> _Address:
    match = _ADDRESS.fullmatch(address)
    if match is None or ".." in (match["file"] or "").split("/"):
        raise ModelError(f"{address!r} is no address of a model. Write hf://owner/repository[@revision][/file.onnx].")
    return _Address(address, match["repo"], unquote(match["revision"] or "main"), match["file"])


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError as error:
        raise MissingDependencyError(
            f"a model of the Hugging Face Hub needs huggingface_hub ({error}). "
            "Install it with: pip install 'edge-denoiser[hub]', or: pip install huggingface_hub"
        ) from error
    huggingface_hub.utils.disable_progress_bars()
    return huggingface_hub


def _loaded(hub: Any, wanted: _Address) -> Path:
    try:
        file = wanted.file or _only(wanted, [each.rfilename for each in _files(hub, wanted)])
        size = hub.get_hf_file_metadata(hub.hf_hub_url(wanted.repo, file, revision=wanted.revision)).size
        _check_size(wanted, size)
        return Path(hub.hf_hub_download(wanted.repo, file, revision=wanted.revision))
    except (ModelError, hub.errors.HfHubHTTPError):
        raise
    except Exception as error:  # the Hub cannot be reached, by intent or not, or the transfer broke off
        cached = _cached(hub, wanted)
        if cached is None:
            raise
        logger.warning("%s: the Hub cannot be reached (%s); the cached file is used", wanted.text, _first_line(error))
        return cached


def _files(hub: Any, wanted: _Address) -> Any:
    return hub.HfApi().model_info(wanted.repo, revision=wanted.revision).siblings or ()


def _only(wanted: _Address, names: list[str]) -> str:
    found = [name for name in names if name.endswith(".onnx")]
    if len(found) != 1:
        listed = ", ".join(found[:20]) or "none"
        raise ModelError(f"{wanted.text} holds {len(found)} .onnx files ({listed}). Name one: {wanted.text}/file.onnx.")
    return found[0]


def _cached(hub: Any, wanted: _Address) -> Path | None:
    """Return the file of the cache, in which folders have the names that huggingface_hub gives them."""
    folder = Path(hub.constants.HF_HUB_CACHE) / f"models--{wanted.repo.replace('/', '--')}"
    reference = folder / "refs" / wanted.revision
    snapshot = folder / "snapshots" / (reference.read_text("ascii").strip() if reference.is_file() else wanted.revision)
    names = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*.onnx")]
    if wanted.file is not None:
        return snapshot / wanted.file if wanted.file in names else None
    return snapshot / _only(wanted, names) if names else None


def _check_size(wanted: _Address, size: int | None) -> None:
    if size is None or size > MOST_BYTES:
        told = "does not say how large the file is" if size is None else f"says that the file has {size} bytes"
        raise ModelError(f"{wanted.text}: the Hub {told}; a model has {MOST_BYTES} at most.")


def _check_file(wanted: _Address, path: Path) -> None:
    """Compare a file with the SHA-256 that the Hub tells for it, and that names it in the cache; log both."""
    _check_size(wanted, path.stat().st_size)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    blob = path.resolve()
    if _SHA256.fullmatch(blob.name) and blob.name != found:
        raise ModelError(
            f"{wanted.text} is damaged: the Hub tells the SHA-256 {blob.name}, the file has {found}. Delete {blob}, and try "
            "again."
        )
    commit = next((parent.name for parent in path.parents if parent.parent.name == "snapshots"), wanted.revision)
    logger.info("%s: commit %s, SHA-256 %s", wanted.text, commit, found)


def _reason(hub: Any, error: Exception) -> str:
    errors = hub.errors
    if isinstance(error, errors.GatedRepoError):
        return "its owner grants access on request. Ask for it on the Hub's page, and set HF_TOKEN."
    if isinstance(error, errors.RevisionNotFoundError):
        return "there is no such revision in the repository. Give a branch, a tag or a commit."
    if isinstance(error, errors.EntryNotFoundError):
        return "there is no such file in the repository. Give another, or leave it out."
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such repository, or it is private. Check its name, or set HF_TOKEN."
    return f"{_first_line(error)}. Try again, or give a local file."


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")
