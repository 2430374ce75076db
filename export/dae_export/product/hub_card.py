"""The card of a model on the Hugging Face Hub: a README.md whose head is YAML, from the contract of the file.

Source: https://huggingface.co/docs/hub/model-cards; figures are a `model-index`, as `huggingface_hub.ModelCard` reads it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from dae_runtime.contract import Contract
from dae_runtime.engine.opening import open_model
from dae_runtime.errors import InputError, ModelError
from dae_runtime.system.paths import check_reachable, read_regular, reason_of, system_errors

from ..errors import ExportError
from .destination import check_destination, write_file

CARD_SUFFIXES = (".md",)
MOST_BYTES = 2**31
"""Of a model file, as ONNX allows."""
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@system_errors(ExportError, "Remove the cause, and try again.")
def write_card(source: str | os.PathLike[str], card: Path, license_id: str, overwrite: bool = False) -> None:
    """Write the card of a model file.

    Args:
        source: A file of dae-export.
        card: The Markdown file to write.
        license_id: Identifier of the license as the Hub lists them, such as `mit`, `cc-by-4.0` or `other`.
        overwrite: Whether the card may exist.

    Raises:
        InputError: The license is no identifier.
        ModelError: The model cannot be read.
        ExportError: The card cannot be written.
    """
    if not _LICENSE.fullmatch(license_id):
        raise InputError(
            f"--hub-license must be an identifier of the Hub's list, such as mit, cc-by-4.0 or other; received {license_id!r}."
        )
    check_destination(card, CARD_SUFFIXES, "--hub-card", overwrite)
    check_reachable(source, "SOURCE")
    try:
        content = read_regular(Path(source), MOST_BYTES)
    except OSError as error:
        raise ModelError(f"the model {source} cannot be read: {reason_of(error)}. Give the path of an .onnx file.") from error
    _, contract = open_model(content, "cpu")
    write_file(card, card_text(contract, content, Path(source).name, license_id).encode(), "--hub-card", overwrite)


def card_text(contract: Contract, content: bytes, file: str, license_id: str) -> str:
    """Return the text of a card.

    Args:
        contract: Of the model.
        content: The model file.
        file: Its name.
        license_id: As for `write_card`.
    """
    return "\n".join(("---", *_head(contract, license_id), "---", "", *_body(contract, content, file), ""))


def _head(contract: Contract, license_id: str) -> Iterator[str]:
    color = "grayscale" if contract.channels == 1 else "rgb"
    yield f"license: {license_id}"
    yield "library_name: onnx"
    yield "pipeline_tag: image-to-image"
    yield "tags:"
    for tag in ("onnx", "image-denoising", "edge-denoiser", color, contract.precision):
        yield f"- {tag}"
    if contract.quality is not None:
        yield "model-index:"
        yield f"- name: {_quoted(contract.name)}"
        yield "  results:"
        yield "  - task:"
        yield "      type: image-to-image"
        yield "      name: Image denoising"
        yield "    dataset:"
        yield "      type: held-out"
        yield f"      name: {_quoted(f'{contract.quality.samples} held-out images of the training, noise {contract.noise}')}"
        yield "    metrics:"
        yield "    - type: psnr"
        yield f"      value: {contract.quality.psnr_db:.2f}"
        yield "      name: PSNR in dB"


def _body(contract: Contract, content: bytes, file: str) -> Iterator[str]:
    color = "gray" if contract.channels == 1 else "RGB"
    size = "any" if contract.fixed_size is None else " x ".join(map(str, contract.fixed_size))
    level = "found by the network itself" if contract.sigma is None else "a second input, `sigma`"
    yield f"# {_plain(contract.name)}"
    yield ""
    yield f"A denoiser for {color} images: one ONNX file of {len(content) / 1024:.0f} KiB, for onnxruntime."
    yield ""
    yield "    pip install 'edge-denoiser[cpu,hub]'"
    yield f"    dae-run -m hf://OWNER/REPOSITORY/{_plain(file)} noisy/ clean/"
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| network | {_plain(contract.preset)} |"
    yield f"| trained on | noise `{_plain(contract.noise)}` |"
    yield f"| noise level | {level} |"
    yield f"| image size | {size} |"
    yield f"| precision | {contract.precision}, {contract.io_dtype} at input and output |"
    if contract.quality is not None:
        before, after = contract.quality.noisy_psnr_db, contract.quality.psnr_db
        yield f"| PSNR | {before:.2f} -> {after:.2f} dB over {contract.quality.samples} held-out images with that noise |"
    yield f"| SHA-256 | `{hashlib.sha256(content).hexdigest()}` |"
    yield ""
    yield "The contract in the file (metadata key `dae`) describes input and output."
    yield "Say here what it was trained on, what it is for, and where it fails."


def _quoted(text: str) -> str:
    """Return a text as YAML: a string of JSON in ASCII is one, and stays on its line."""
    return json.dumps(text)


def _plain(text: str) -> str:
    """Return a text from a file without line ends and what Markdown and HTML read as their own."""
    return re.sub(r"[\s<>|`\[\]]+", " ", text).strip()
