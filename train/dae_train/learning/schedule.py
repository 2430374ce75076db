"""The learning rate over the steps of a run."""

from __future__ import annotations

from typing import Any

from keras.optimizers import schedules

from ..settings.training import TrainingSettings

WARMUP_STEPS = 200
WARMUP_SHARE = 0.1
FINAL_RATE_SHARE = 0.01


def learning_rate(training: TrainingSettings, steps_per_epoch: int) -> Any:
    """Return what an optimizer takes as its learning rate: a number, or a schedule that Keras can save.

    Source:
        Loshchilov, Hutter: SGDR: stochastic gradient descent with warm restarts. ICLR 2017 (the half cosine).
    """
    if training.schedule == "constant":
        return training.rate
    total = training.epochs * steps_per_epoch
    warmup = warmup_steps(training, total)
    falling = max(1, total - warmup)
    if warmup == 0:
        return schedules.CosineDecay(training.rate, falling, alpha=FINAL_RATE_SHARE)
    return schedules.CosineDecay(
        training.rate / warmup,  # the first step moves too
        falling,
        alpha=FINAL_RATE_SHARE,
        warmup_target=training.rate,
        warmup_steps=warmup,
    )


def warmup_steps(training: TrainingSettings, total_steps: int) -> int:
    """Return the length of the warm-up in steps: as set, or 200, or a tenth of all steps where that is less."""
    if training.warmup_steps is not None:
        return min(training.warmup_steps, total_steps)
    return min(WARMUP_STEPS, int(WARMUP_SHARE * total_steps))
