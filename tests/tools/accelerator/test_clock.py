"""Training that ends by the clock."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dae_train.settings.training import TrainingSettings


def test_the_rate_as_a_function_of_the_time():
    from dae_tools.accelerator.clock import by_time

    training, rate = by_time(TrainingSettings(learning_rate=0.01, steps=7, schedule="cosine", warmup_steps=3))
    assert (training.schedule, training.rate, training.steps, training.warmup_steps) == ("constant", 0.01, None, None)
    assert [rate(part) for part in (0.01, 0.02, 0.51, 1.0)] == pytest.approx([0.005, 0.01, 0.00505, 0.0001], rel=0.01)
    again, same = by_time(training)
    assert again == training
    assert same(0.3) == rate(0.3)


def test_training_ends_before_the_time_is_over(monkeypatch):
    """A call takes 2 s, the first one 20 s as it compiles; an epoch has 4 calls, and then 3 s to validate and save."""
    import keras

    from dae_tools.accelerator import clock

    now_s = [0.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    rates, ends = [], []

    def call(batch, logs):
        now_s[0] += 2.0 if now_s[0] else 20.0

    def end(epoch, logs):
        ends.append(now_s[0])
        now_s[0] += 3
        rates.append(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)))

    image = keras.Input((1,))
    model = keras.Model(image, keras.layers.Dense(1)(image))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    pixels = np.ones((32, 1), np.float32)
    before, after = keras.callbacks.LambdaCallback(on_train_batch_end=call), keras.callbacks.LambdaCallback(on_epoch_end=end)
    callbacks = [before, clock.Clock(120, lambda part: 1 - part), after]
    model.fit(pixels, pixels, batch_size=8, epochs=1000, verbose=0, callbacks=callbacks)
    assert ends[:2] == [26, 37]  # epochs of 26, then 11 s
    assert ends[-1] == 114  # one call more, and saving, would end at 122
    assert rates[:2] == pytest.approx([0.99, 1 - (29 - 20 + 4.5) / 100])
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.15
