"""How a network is trained: all that is neither the network, nor the noise, nor the images."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import check_setting

BY_LEVEL = "mse-by-level"
LOSSES = ("bce", "mse", "l1", "charbonnier", BY_LEVEL)
SUPERVISIONS = ("clean", "noise2noise", "noise2void")
_, NOISE2NOISE, NOISE2VOID = SUPERVISIONS
UNBIASED_LOSSES = ("mse", "l1")
"""Losses whose minimum does not depend on whether the target is noisy: for noise with mean 0, and with median 0."""
SCHEDULES = ("cosine", "constant")
_, CONSTANT = SCHEDULES
PRECISIONS = ("fp32", "amp")

MUON, PLAIN_MUON = "muon", "muon-plain"
LEARNING_RATES = {MUON: 3e-3, PLAIN_MUON: 3e-3, "adam": 2e-3}
"""Default rates of the optimizers."""
FINE_TUNING = 0.25
"""Share of the default rate that starts from the weights of a trained network, which a high rate would only throw away."""
TEACHER_WEIGHT = 0.5
"""Default share of the loss that a teacher has."""


@dataclass(frozen=True)
class TrainingSettings:
    """How the weights are found."""

    supervision: str = "clean"
    """What the network learns from; see `supervision`. `clean`: from clean images. `noise2noise`: from other noisy shots of
    the same scenes, which are `data.target`. `noise2void`: from single noisy images with noise that is independent from pixel
    to pixel (or from clean ones with a noise, to try the method out)."""
    loss: str = "mse"
    """`bce`, `mse`, `l1`, `charbonnier` or, for a network that is given the noise level, `mse-by-level`: all levels then count
    alike, see `losses.weight`."""
    epochs: int = 10
    """How often the network is judged and saved; how much it is trained is this times `steps_per_epoch`."""
    steps: int | None = None
    """Weight updates of the whole run, in the place of `epochs`: equal epochs of about the usual length, or of at most
    `steps_per_epoch`. Where they do not divide evenly there are a few more, fewer than there are epochs."""
    steps_per_epoch: int | None = None
    """Batches in an epoch, with `steps` at most so many. None: one pass over whole images, 500 where crops are drawn."""
    batch_size: int | None = None
    """None: 64 whole images, 16 crops."""
    optimizer: str | None = None
    """`muon`, `muon-plain` (faster, but in long runs lower levels of U-shapes lose their units) or `adam`; see `muon`. None:
    by the network, see `RunConfig.optimizer`."""
    learning_rate: float | None = None
    """The highest rate of the `cosine` schedule, the rate of the `constant` one. None: 3e-3 (muon) or 2e-3 (adam), a quarter
    of it with `init`."""
    schedule: str = "cosine"
    """`cosine`: linear warm-up, then down to 1 % along a half cosine. `constant`: the same rate throughout."""
    warmup_steps: int | None = None
    """Of the `cosine` schedule only. None: 200, or a tenth of all steps where that is less."""
    seed: int = 0
    deterministic: bool = False
    """Choose slower kernels that give the same weights every time on the same machine."""
    precision: str = "fp32"
    """`fp32`, or `amp`: arithmetic in float16 (GPU) or bfloat16 (CPU) with float32 weights."""
    patience: int = 0
    """Stop after this many epochs without a lower validation loss; 0: never."""
    ema: float = 0.999
    """The network that is judged and saved has the average of the weights after each step, in which older ones count this
    much less with each step; at step t no more than (1 + t) / (10 + t), so that short runs forget their beginning. 0: the
    last weights."""
    init: str | None = None
    """Start from the weights of this network instead of random ones; see `trained_file.find_init`."""
    init_sha256: str | None = None
    """Digest of its file; if given, another file is refused."""
    teacher: str | None = None
    """Learn from this network too; see `trained_file.find_init`."""
    teacher_sha256: str | None = None
    """Digest of its file; if given, another file is refused."""
    teacher_weight: float = TEACHER_WEIGHT
    """With `teacher`: w in (1 - w) * loss(output, clean) + w * loss(output, what the teacher makes of the noisy image)."""
    qat: bool = False
    """Train with weights and activations rounded as the INT8 export rounds them; see `fake_quantization`."""

    def __post_init__(self) -> None:
        check_setting(self.supervision in SUPERVISIONS, "training.supervision", one_of(SUPERVISIONS), self.supervision)
        losses = LOSSES if self.supervision == "clean" else UNBIASED_LOSSES
        expected = one_of(losses) + ("" if self.supervision == "clean" else ", since the target is noisy")
        check_setting(self.loss in losses, "training.loss", expected, self.loss)
        blind = self.supervision == NOISE2VOID
        check_setting(not blind or self.teacher is None, "training.teacher", f"left out with {NOISE2VOID}", self.teacher)
        check_setting(self.schedule in SCHEDULES, "training.schedule", one_of(SCHEDULES), self.schedule)
        check_setting(self.precision in PRECISIONS, "training.precision", one_of(PRECISIONS), self.precision)
        known = self.optimizer is None or self.optimizer in LEARNING_RATES
        check_setting(known, "training.optimizer", one_of(tuple(LEARNING_RATES)), self.optimizer)
        check_setting(self.rate > 0, "training.learning_rate", "above 0", self.learning_rate)
        check_setting(0 <= self.ema < 1, "training.ema", "at least 0 and below 1", self.ema)
        check_setting(0 <= self.teacher_weight <= 1, "training.teacher_weight", "from 0 to 1", self.teacher_weight)
        untaught = self.teacher is None and self.teacher_weight != TEACHER_WEIGHT
        check_setting(not untaught, "training.teacher_weight", "left out without a teacher", self.teacher_weight)
        warm = self.schedule == CONSTANT and bool(self.warmup_steps)
        check_setting(not warm, "training.warmup_steps", f"left out with the {CONSTANT} schedule", self.warmup_steps)
        check_setting(not self.qat or self.precision == "fp32", "training.precision", "'fp32' with qat", self.precision)
        check_setting(0 <= self.seed < 2**31, "training.seed", "from 0 up to 2147483647", self.seed)
        for name in ("epochs", "steps", "steps_per_epoch", "batch_size", "patience", "warmup_steps"):
            value, least = getattr(self, name), 0 if name in ("patience", "warmup_steps") else 1
            check_setting(value is None or value >= least, f"training.{name}", f"at least {least}", value)

    @property
    def rate(self) -> float:
        """The learning rate in force, the default filled in."""
        if self.learning_rate is not None:
            return self.learning_rate
        return default_rate(self.optimizer, self.init)


def default_rate(optimizer: str | None, init: str | None) -> float:
    """Return the learning rate of a run that sets none.

    Args:
        optimizer: A key of `LEARNING_RATES`; None: a kind of Muon.
        init: What the run starts from; None: random weights.
    """
    return LEARNING_RATES[optimizer or MUON] * (1 if init is None else FINE_TUNING)


def one_of(names: tuple[str, ...]) -> str:
    """Return the names as `a, b or c`."""
    return f"{', '.join(names[:-1])} or {names[-1]}"
