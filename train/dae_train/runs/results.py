"""Results of a run besides its models: calibration samples, metrics, plots."""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np

from dae_runtime.contract import RunDirectory
from dae_runtime.system.atomic import atomic_path, write_atomic

from ..data.image_set import FloatArray, to_unit
from ..fitting.checkpoints import load_model
from ..fitting.session import Session
from ..judging.evaluation import calibration_samples, denoise, evaluate
from ..judging.history import Row, best_epoch
from ..settings.noise import TEST_SEED, VALIDATION_SEED
from ..settings.training import NOISE2VOID
from . import plots

_LOG = logging.getLogger("dae_train")

SAMPLES = 10
"""Columns of samples.png."""
LATENT_POINTS = 4000
_FIGURES = {"val_psnr": "psnr_db", "val_est_psnr": "estimated_psnr_db", "val_ssim": "ssim"}


def write_calibration(run: RunDirectory, session: Session) -> None:
    """Write the calibration samples for INT8."""
    config, pieces = session.prepared.config, session.prepared.calibration
    noisy, *levels = session.draw(pieces.input, pieces.clean, VALIDATION_SEED)
    samples = calibration_samples(noisy, pieces.clean, pieces.images, *levels)
    if not config.has_clean:
        samples = {name: images for name, images in samples.items() if not name.endswith("clean")}
    with atomic_path(run.calibration) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **samples)


def write_results(run: RunDirectory, session: Session, rows: list[Row]) -> dict[str, Any] | None:
    """Evaluate the best model on the test images, write metrics and plots, and return the test metrics.

    Raises:
        RunError: The best model is missing or damaged.
    """
    import tomli_w

    prepared = session.prepared
    best = load_model(run.best_model)
    row = best_epoch(rows)
    result: dict[str, Any] = {
        "epochs": len(rows),
        "best_epoch": int(row["epoch"]),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "parameters": int(best.count_params()),
        "validation": {"loss": row["val_loss"], **{key: row[name] for name, key in _FIGURES.items() if name in row}},
    }
    pair = _test_pair(session)
    if pair is not None:
        (noisy, *levels), clean = pair
        result["test"] = evaluate(best, noisy, clean, prepared.config.model.alignment_px, *levels)
    write_atomic(run.result, tomli_w.dumps(result).encode())
    _draw(run, session, rows, best, pair)
    return result.get("test")


def _test_pair(session: Session) -> tuple[list[FloatArray], FloatArray] | None:
    """Return the network input of the test images, and these clean; None without any that fit the network."""
    prepared, config = session.prepared, session.prepared.config
    if prepared.test is None or not config.has_clean:
        return None
    if config.model.image_px is not None and prepared.test.sizes != {prepared.patch}:
        _LOG.warning("the test images do not fit a network of fixed size and are skipped")
        return None
    images = prepared.test.clean
    return session.draw(images, images, TEST_SEED), to_unit(np.asarray(images))


def _draw(
    run: RunDirectory, session: Session, rows: list[Row], best: keras.Model, pair: tuple[list[FloatArray], FloatArray] | None
) -> None:
    prepared = session.prepared
    alignment_px = prepared.config.model.alignment_px
    (noisy, *levels), clean = pair or (session.validation, prepared.validation.clean)
    labels = prepared.validation_labels if pair is None or prepared.test is None else prepared.test.labels
    plots.draw_curves(run.curves, rows)
    denoised = denoise(best, noisy[:SAMPLES], alignment_px, *(level[:SAMPLES] for level in levels))
    rows_of_samples = {"noisy": noisy[:SAMPLES], "denoised": denoised}
    if prepared.config.training.supervision != NOISE2VOID or prepared.config.has_clean:
        rows_of_samples["clean" if prepared.config.has_clean else "other shot"] = clean[:SAMPLES]
    plots.draw_samples(run.samples, rows_of_samples)
    if prepared.config.model.z_dim is not None:
        points = best.get_layer("encoder").predict(noisy[:LATENT_POINTS], verbose=0)
        plots.draw_latent(run.latent, points, None if labels is None else labels[:LATENT_POINTS])
