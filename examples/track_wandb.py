"""Train with the figures of each epoch in Weights & Biases: `python examples/track_wandb.py [DATA [RUN]]`.

Needs `pip install wandb`, and `wandb login` or WANDB_MODE=offline, which writes to ./wandb for `wandb sync` later.
"""

import sys

import keras
import wandb

from dae_runtime import DaeError
from dae_train import DataSettings, RunConfig, TrainingSettings, train


class Track(keras.callbacks.Callback):
    """Log the figures of each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        """Log a dictionary of numbers; the step is the number of the epoch."""
        wandb.log({name: float(value) for name, value in logs.items()}, step=epoch + 1)


def main(source="synthetic", run="runs/tracked", **training):
    """Train on a folder of images or `synthetic`; `training` are fields of TrainingSettings."""
    config = RunConfig(data=DataSettings(source), training=TrainingSettings(**training))
    with wandb.init(project="dae-toolkit", name=run) as tracked:
        outcome = train(config, run, callbacks=[Track()], verbose=2)
        tracked.save(str(outcome.run.description), base_path=str(outcome.run.root))  # every setting, the versions, the device
        tracked.summary["test"] = outcome.test or {}


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (DaeError, OSError) as error:  # a wrong path, say
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
