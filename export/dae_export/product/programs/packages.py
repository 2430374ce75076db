"""What surrounds a graph in the files of a program: archive, folder, configuration."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from string import Template

from dae_runtime.contract import INPUT_NAME, OUTPUT_NAME, SIGMA_NAME, Contract

DARKTABLE_TASK = "denoise"
LARGEST_BATCH = 8
"""Images that Triton may put into one batch, if they have one size."""
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)
"""The date in an archive, always the same, so that equal models give equal files."""

_TENSOR = Template('  { name: "$name" data_type: TYPE_FP32 dims: [ $dims ] }')


def pack(program: str, target: Path, contract: Contract, model: bytes) -> dict[Path, bytes]:
    """Return the content of each file to write, the last to write last.

    Args:
        program: One of `dae_export.options.PROGRAMS`.
        target: The file, or the folder for Triton.
        contract: The contract of the model.
        model: The model file.
    """
    if program == "darktable":
        return {target: _archive(contract, model)}
    if program == "triton":
        return {
            target / "1" / "model.onnx": model,
            target / "config.pbtxt": _triton_configuration(target.name, contract).encode(),
        }
    return {target: model}


def darktable_id(name: str) -> str:
    """Return the id of a model: `denoise-` and its name in small letters, digits and hyphens."""
    return f"{DARKTABLE_TASK}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'model'}"


def _archive(contract: Contract, model: bytes) -> bytes:
    """Return an archive for "import from file": one folder, named like the id, with the configuration and the graph."""
    identity = darktable_id(contract.name)
    configuration = {
        "id": identity,
        "name": f"denoise {contract.name}",
        "description": f"{contract.name} ({contract.preset}), trained on noise {contract.noise}",
        "task": DARKTABLE_TASK,
        "arch": "generic",
        "backend": "onnx",
        "version": "1.0",
        "tiling": True,
        "num_inputs": 1 if contract.sigma is None else 2,
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in (("config.json", json.dumps(configuration, indent=4).encode()), ("model.onnx", model)):
            archive.writestr(zipfile.ZipInfo(f"{identity}/{name}", _FIRST_DATE), data, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def _triton_configuration(name: str, contract: Contract) -> str:
    height, width = contract.fixed_size or (-1, -1)
    image = f"{contract.channels}, {height}, {width}"
    inputs = [_TENSOR.substitute(name=INPUT_NAME, dims=image)]
    if contract.sigma is not None:
        inputs.append(_TENSOR.substitute(name=SIGMA_NAME, dims="1"))
    listed = ",\n".join(inputs)
    return (
        f'name: "{name}"\nbackend: "onnxruntime"\nmax_batch_size: {LARGEST_BATCH}\ninput [\n{listed}\n]\n'
        f"output [\n{_TENSOR.substitute(name=OUTPUT_NAME, dims=image)}\n]\ndynamic_batching {{ }}\n"
    )
