"""Train with the figures of each epoch in MLflow: `python examples/track_mlflow.py [DATA [RUN]]`.

Needs `pip install mlflow-skinny`, or mlflow, whose `mlflow server` shows the figures. They go where MLFLOW_TRACKING_URI
says: a server's address, or a folder (file:///home/me/mlruns, for which MLflow 3 wants MLFLOW_ALLOW_FILE_STORE=true as well).
"""

import sys

import keras
import mlflow

from dae_runtime import DaeError
from dae_train import DataSettings, RunConfig, TrainingSettings, train


class Track(keras.callbacks.Callback):
    """Log the figures of each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        """Log a dictionary of numbers; the step is the number of the epoch."""
        mlflow.log_metrics({name: float(value) for name, value in logs.items()}, step=epoch + 1)


def main(source="synthetic", run="runs/tracked", **training):
    """Train on a folder of images or `synthetic`; `training` are fields of TrainingSettings."""
    config = RunConfig(data=DataSettings(source), training=TrainingSettings(**training))
    mlflow.set_experiment("dae-toolkit")
    with mlflow.start_run(run_name=run):
        outcome = train(config, run, callbacks=[Track()], verbose=2)
        mlflow.log_artifact(outcome.run.description)  # every setting, the versions and the device
        mlflow.log_artifact(outcome.run.best_model)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (DaeError, OSError) as error:  # a wrong path, say
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
