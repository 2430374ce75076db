"""Training settings: supervision, loss, schedule, optimizer and initialization."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import check_fields, check_setting

MSE, BY_LEVEL = "mse", "mse-by-level"
LOSSES = ("bce", MSE, "l1", "charbonnier", BY_LEVEL)
CUSTOM_LOSS = "custom"
"""Name of a loss function of the calling program; see `dae_train.train`."""
SUPERVISIONS = ("clean", "noise2noise", "noise2void")
_, NOISE2NOISE, NOISE2VOID = SUPERVISIONS
UNBIASED_LOSSES = (MSE, "l1")
"""Losses with the same minimum for noisy targets: for noise with mean 0, and with median 0."""
SCHEDULES = ("cosine", "constant")
_, CONSTANT = SCHEDULES
PRECISIONS = ("fp32", "amp")

MUON, PLAIN_MUON = "muon", "muon-plain"
LEARNING_RATES = {MUON: 3e-3, PLAIN_MUON: 3e-3, "adam": 2e-3}
"""Default learning rates of the optimizers."""
FINE_TUNING = 0.25
"""Fraction of the default learning rate with `init`."""
TEACHER_WEIGHT = 0.5
"""Default weight of the teacher in the loss."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained."""

    supervision: str = "clean"
    """Training targets; see `supervision`. `clean`: clean images. `noise2noise`: other noisy shots of the same scenes,
    `data.target`. `noise2void`: single noisy images whose noise is independent between pixels (or clean images with added
    noise, to test the method)."""
    loss: str | None = None
    """`bce`, `mse`, `l1`, `charbonnier` or, for a network that is given the noise level, `mse-by-level`: all levels then count
    alike, see `losses.weight`. `custom`: the function passed to `train`. None: depends on the network, see
    `RunConfig.loss`."""
    epochs: int = 10
    """Number of epochs, each of `steps_per_epoch` updates, then validated and saved."""
    steps: int | None = None
    """Weight updates of the whole run, instead of `epochs`: equal epochs of about the usual length, or of at most
    `steps_per_epoch`. Rounded up to whole epochs."""
    steps_per_epoch: int | None = None
    """Batches per epoch; with `steps`, at most. None: one pass over whole images, or 500 for crops."""
    batch_size: int | None = None
    """None: 64 whole images or 16 crops."""
    optimizer: str | None = None
    """`muon`, `muon-plain` (faster, but kills units of U-shapes in long runs) or `adam`; see `muon`. None: depends on the
    network, see `RunConfig.optimizer`."""
    learning_rate: float | None = None
    """Peak rate of the `cosine` schedule, or the `constant` rate. None: 3e-3 (muon) or 2e-3 (adam), a quarter with `init`."""
    schedule: str = "cosine"
    """`cosine`: linear warmup, then half-cosine decay to 1 %. `constant`: a fixed rate."""
    warmup_steps: int | None = None
    """For the `cosine` schedule only. None: 200, at most a tenth of all steps."""
    seed: int = 0
    deterministic: bool = False
    """Use slower kernels for reproducible weights on one machine."""
    precision: str = "fp32"
    """`fp32`, or `amp`: float16 (GPU) or bfloat16 (CPU) arithmetic with float32 weights."""
    patience: int = 0
    """Stop after this many epochs without a lower validation loss; 0: never."""
    ema: float = 0.999
    """Decay of the exponential moving average of the weights that is validated and saved; at step t at most
    (1 + t) / (10 + t). 0: the last weights."""
    init: str | None = None
    """Start from the weights of this network; see `trained_file.find_init`."""
    init_sha256: str | None = None
    """Digest of its file; if given, another file is rejected."""
    teacher: str | None = None
    """Distill from this network too; see `trained_file.find_init`."""
    teacher_sha256: str | None = None
    """Digest of its file; if given, another file is rejected."""
    teacher_weight: float = TEACHER_WEIGHT
    """With `teacher`: w in (1 - w) * loss(output, clean) + w * loss(output, output of the teacher)."""
    qat: bool = False
    """Train with weights and activations rounded as in the INT8 export; see `fake_quantization`."""

    def __post_init__(self) -> None:
        check_fields(self, "training")
        for name, choices in (("supervision", SUPERVISIONS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            check_setting(getattr(self, name) in choices, f"training.{name}", one_of(choices), getattr(self, name))
        losses = LOSSES if self.supervision == "clean" else UNBIASED_LOSSES
        expected = one_of(losses) + ("" if self.supervision == "clean" else ", since the target is noisy")
        check_setting(self.loss in (None, *losses, CUSTOM_LOSS), "training.loss", expected, self.loss)
        teachable = self.supervision != NOISE2VOID or self.teacher is None
        check_setting(teachable, "training.teacher", f"omitted with {NOISE2VOID}", self.teacher)
        known = self.optimizer is None or self.optimizer in LEARNING_RATES
        check_setting(known, "training.optimizer", one_of(tuple(LEARNING_RATES)), self.optimizer)
        check_setting(self.rate > 0, "training.learning_rate", "above 0", self.learning_rate)
        check_setting(0 <= self.ema < 1, "training.ema", "at least 0 and below 1", self.ema)
        check_setting(0 <= self.teacher_weight <= 1, "training.teacher_weight", "from 0 to 1", self.teacher_weight)
        weighted = self.teacher is not None or self.teacher_weight == TEACHER_WEIGHT
        check_setting(weighted, "training.teacher_weight", "omitted without a teacher", self.teacher_weight)
        warmable = self.schedule != CONSTANT or not self.warmup_steps
        check_setting(warmable, "training.warmup_steps", f"omitted with the {CONSTANT} schedule", self.warmup_steps)
        check_setting(0 <= self.seed < 2**31, "training.seed", "from 0 up to 2147483647", self.seed)
        for name in ("epochs", "steps", "steps_per_epoch", "batch_size", "patience", "warmup_steps"):
            value, least = getattr(self, name), 0 if name in ("patience", "warmup_steps") else 1
            check_setting(value is None or value >= least, f"training.{name}", f"at least {least}", value)

    @property
    def rate(self) -> float:
        """The effective learning rate."""
        if self.learning_rate is not None:
            return self.learning_rate
        return default_rate(self.optimizer, self.init)


def default_rate(optimizer: str | None, init: str | None) -> float:
    """Return the default learning rate of a run.

    Args:
        optimizer: A key of `LEARNING_RATES`; None: a kind of Muon.
        init: Initial weights; None: random.
    """
    return LEARNING_RATES[optimizer or MUON] * (1 if init is None else FINE_TUNING)


def one_of(names: tuple[str, ...]) -> str:
    """Return the names as `a, b or c`."""
    return f"{', '.join(names[:-1])} or {names[-1]}"
