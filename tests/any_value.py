"""Values of every kind, most of them wrong for most options."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

HUGE = 10**5000
"""Python refuses to print it."""
anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**60),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.lists(st.integers(), max_size=3),
    st.lists(st.integers(), max_size=3).map(tuple),
    st.sampled_from([HUGE, -HUGE, [HUGE], (HUGE,), (1,) * 1000, 10**9, 18.0, math.inf, math.nan, object(), {}, complex(1, 1)]),
    st.sampled_from([np.float32(2), np.int64(-1), np.nan]),
)
