"""Every setting has a type and a bound: whatever the value, the settings are made or a ConfigError says what is wrong."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from any_value import anything
from dae_train.errors import ConfigError
from dae_train.settings.config import MOST_PIXELS_OF_BATCH, DataSettings, NoiseSettings, RunConfig, TrainingSettings
from dae_train.settings.flags import merge
from dae_train.settings.networks import PRESETS, CustomSettings

MADE = [*PRESETS.values(), TrainingSettings(), DataSettings(), NoiseSettings(), CustomSettings(channels=1, alignment_px=4)]


@settings(max_examples=300, deadline=None)
@given(data=st.data(), value=anything)
def test_any_value_of_any_setting_is_taken_or_a_config_error(data: st.DataObject, value: Any) -> None:
    made = data.draw(st.sampled_from(MADE))
    name = data.draw(st.sampled_from([field.name for field in dataclasses.fields(made)]))
    try:
        changed = dataclasses.replace(made, **{name: value})
    except ConfigError as error:
        assert len(str(error)) < 1000  # noqa: PT017 - any of the two outcomes is right
    else:
        kept = getattr(changed, name)
        numbers = kept if isinstance(kept, tuple) else (kept,)
        assert all(abs(n) < 2**31 for n in numbers if isinstance(n, int))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, -1, True, "1", 10**10])
@pytest.mark.parametrize("flag", ["epochs", "steps", "steps_per_epoch", "batch_size", "patch_size", "limit", "z_dim"])
def test_no_flag_takes_a_number_beyond_its_bound(flag: str, value: Any) -> None:
    with pytest.raises(ConfigError):
        merge(None, {"preset": "v1", flag: value})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, -1, True, "1"])
@pytest.mark.parametrize("flag", ["lr", "val_split", "ema", "dropout", "teacher_weight"])
def test_no_flag_takes_a_number_that_is_not_finite(flag: str, value: Any) -> None:
    with pytest.raises(ConfigError):
        merge(None, {"preset": "v1", "teacher": "gray", flag: value})


@given(batch=st.integers(1, 2**16), side=st.integers(1, 4096))
def test_a_batch_is_bounded_by_its_pixels(batch: int, side: int) -> None:
    made = {"data": DataSettings(patch_px=side), "training": TrainingSettings(batch_size=batch)}
    if batch * side**2 <= MOST_PIXELS_OF_BATCH:
        RunConfig(**made)
    else:
        with pytest.raises(ConfigError, match="batch_size"):
            RunConfig(**made)
