"""Archives for darktable: its own checker of models takes them, and what its loader demands holds.

darktable 5.6 is the first with models, and no package brings it yet. The demands are those of its sources: src/ai/README.md
(0610ecd), src/ai/backend_common.c (0b9e78f), src/common/ai_models.c (01e3de3) and src/ai/restore.c (82d63ce).
"""

from __future__ import annotations

import io
import json
import re
import zipfile

import numpy as np
import onnxruntime
import pytest

from dae_export import ExportOptions, export_for
from dae_runtime import Denoiser
from hosts.conftest import SIGMA, agreement_db, needs, picture

OVERLAP_PX = 64
TILE_PX = 256


@pytest.fixture(scope="module", params=[("photo", None), ("photo", SIGMA), ("gray-25", None)], ids=["map", "built in", "gray"])
def file(request, tmp_path_factory):
    name, sigma = request.param
    return name, export_for("darktable", name, tmp_path_factory.mktemp("darktable"), sigma=sigma)


@needs("dt_ai_sdk")
def test_its_own_checker_takes_it(file, tmp_path, capsys):
    from dt_ai_sdk.validate import validate_config_json, validate_onnx

    with zipfile.ZipFile(file[1].path) as archive:
        archive.extractall(tmp_path)
    (folder,) = tmp_path.iterdir()
    assert validate_config_json(folder / "config.json"), capsys.readouterr().out
    assert validate_onnx(folder / "model.onnx"), capsys.readouterr().out


def test_what_the_loader_demands(file):
    """One folder, named like the id; the id names the task; two inputs are announced."""
    with zipfile.ZipFile(file[1].path) as archive:
        assert all(re.fullmatch(r"[\w-]+/(config\.json|model\.onnx)", name) for name in archive.namelist())
        folder = archive.namelist()[0].partition("/")[0]
        configuration = json.load(io.TextIOWrapper(archive.open(f"{folder}/config.json"), "utf-8"))
        session = onnxruntime.InferenceSession(archive.read(f"{folder}/model.onnx"), providers=["CPUExecutionProvider"])
    assert configuration["id"] == folder
    assert re.fullmatch(r"denoise(-[a-z0-9]+)+", folder)
    assert all(isinstance(configuration[key], str) for key in ("name", "description", "task", "backend", "version"))
    assert configuration["num_inputs"] == len(session.get_inputs())
    shapes = [[n if isinstance(n, int) else None for n in tensor.shape] for tensor in session.get_inputs()]
    assert shapes == [[None, 3, None, None], [None, 1, None, None]][: len(shapes)]
    assert all(tensor.type == "tensor(float)" for tensor in (*session.get_inputs(), *session.get_outputs()))


def test_tiles_as_darktable_cuts_them_give_the_picture_of_the_runtime(file):
    """Tiles of 256 pixels with 64 on each side beyond what is kept, mirrored at the border; sigma is always 25 of 255."""
    name, written = file
    with zipfile.ZipFile(written.path) as archive:
        content = archive.read(next(n for n in archive.namelist() if n.endswith(".onnx")))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    noisy = picture(150, 300, 3)
    received = np.empty_like(noisy)
    step = TILE_PX - 2 * OVERLAP_PX
    for y in range(0, noisy.shape[0], step):
        for x in range(0, noisy.shape[1], step):
            rows, columns = (
                _mirrored(np.arange(start - OVERLAP_PX, start - OVERLAP_PX + TILE_PX), size)
                for start, size in ((y, noisy.shape[0]), (x, noisy.shape[1]))
            )
            feeds = {"noisy": np.ascontiguousarray(noisy[np.ix_(rows, columns)].transpose(2, 0, 1)[None])}
            if len(session.get_inputs()) == 2:
                feeds["sigma"] = np.full((1, 1, TILE_PX, TILE_PX), 25 / 255, np.float32)
            tile = session.run(None, feeds)[0][0].transpose(1, 2, 0)[OVERLAP_PX:-OVERLAP_PX, OVERLAP_PX:-OVERLAP_PX]
            part = received[y : y + step, x : x + step]
            part[...] = tile[: part.shape[0], : part.shape[1]]
    given = written.contract.sigma.high if written.contract.sigma else SIGMA  # 25 of 255 counts as the greatest it knows
    sigma = given if name == "photo" else None
    assert agreement_db(received, Denoiser(name, "cpu").denoise(noisy, sigma=sigma)) > 40


def _mirrored(positions: np.ndarray, size: int) -> np.ndarray:
    positions = np.abs(positions)
    positions = np.where(positions >= size, 2 * size - 2 - positions, positions)
    return np.clip(positions, 0, size - 1)


def test_a_smaller_precision_is_written_too(tmp_path):
    sizes = [export_for("darktable", "gray-25", tmp_path, ExportOptions(dtype=dtype)).size_bytes for dtype in ("fp32", "fp16")]
    assert sizes[1] < sizes[0]
