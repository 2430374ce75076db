"""The gates: directions and error texts."""

from __future__ import annotations

import math
from functools import partial

from dae_export.measure.gates import Gate, failed_gates, gain_gate, loss_gates, speed_gate
from dae_export.measure.quality import Judgment
from dae_runtime.contract import Quality

LIMITS = partial(loss_gates, max_psnr_drop=0.1, max_color_shift=0.5)
GATES = (Gate("PSNR drop in dB", 0.02, 0.1), Gate("Speedup", 1.1, 1.2, at_least=True))


def test_gates_know_their_direction():
    assert [gate.passed for gate in GATES] == [True, False]
    assert not Gate("drop", math.nan, 1).passed
    assert not Gate("speedup", math.nan, 1, at_least=True).passed


def judgment(drop: float, *shift: float) -> Judgment:
    return Judgment(4, 40.0, drop, shift, None)


def test_a_complaint_names_the_gate_and_by_how_much():
    assert failed_gates(LIMITS(judgment(0.1, 0.5, -0.5, 0))) is None
    assert failed_gates(LIMITS(judgment(-0.2, 0.0))) is None
    dropped = failed_gates(LIMITS(judgment(0.35, 0.1)))
    assert dropped is not None
    assert "0.350 dB" in dropped
    assert "0.250 dB more than the 0.1 dB of --max-psnr-drop" in dropped
    shifted = failed_gates(LIMITS(judgment(0, 0.1, -1.25, 0.3)))
    assert shifted is not None
    assert "-1.25" in shifted
    assert "0.75 more than the 0.5 of --max-color-shift" in shifted
    both = failed_gates(LIMITS(judgment(float("inf"), 2.0)))
    assert both is not None
    assert "--max-psnr-drop" in both
    assert "--max-color-shift" in both
    assert failed_gates(LIMITS(judgment(float("nan"), 0.0))) is not None


def test_speed_is_compared_with_what_was_asked_for():
    assert failed_gates([speed_gate(2.0, 2.0)]) is None
    assert failed_gates([speed_gate(1.99, 2.0)]) == (
        "is 1.99 times as fast as float32 on this processor, 0.01 less than the 2 of --min-speedup"
    )
    assert failed_gates([speed_gate(float("nan"), 2.0)]) is not None


def test_a_file_that_makes_its_samples_worse_fails():
    assert failed_gates([gain_gate(Quality(4, 20.0, 29.0, 20.0), 0)]) is None
    assert failed_gates([gain_gate(Quality(4, 20.0, 29.0, 19.5), -1)]) is None
    assert failed_gates([gain_gate(Quality(4, 20.0, 29.0, 19.5), 0)]) == (
        "changes the PSNR of the noisy samples by -0.50 dB, 20.00 -> 19.50 dB (29.00 dB in float32), less than the 0 dB of "
        "--min-psnr-gain"
    )
