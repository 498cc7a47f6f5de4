"""Callbacks for those who watch a training: TensorBoard and MLflow.

Both are told what metrics.csv has, after every round, and the metrics on `test` at the end. They
live in the driver's process: a client does not know of them, and says nothing more.
"""

import importlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional, Union

import numpy as np
import tensorflow as tf

from pfrec import errors
from pfrec import metrics as metrics_lib
from pfrec.data.dataset import dataset as dataset_lib
from tff_process import plan as plan_lib
from tff_process.process import round_report
from tff_process.training import callbacks

# Counts are no news after the first round.
_SHOWN = ("auc", "gauc", "logloss", "ece")
TENSORBOARD = "tensorboard"

Value = Union[bool, int, float, str]


class Watcher(callbacks.Callback):
    """Turns what the loop says into named numbers; a subclass stores them.

    Args:
      plan: of the training.
      dataset: that it is on.
    """

    def __init__(self, plan: plan_lib.Plan, dataset: dataset_lib.Dataset) -> None:
        self.plan, self.dataset = plan, dataset

    def store(self, values: Mapping[str, float], step: int) -> None:
        """Stores numbers of a round."""
        raise NotImplementedError

    def after_round(  # type: ignore[override]
        self,
        *,
        number: int,
        score: float,
        values: np.ndarray,
        report: round_report.RoundReport,
        **others: Any,
    ) -> None:
        told = {f"loss/{name}": loss for name, loss in report.loss.items()}
        told.update(self._named("valid", values))
        told["valid/score"] = score
        self.store({name: float(v) for name, v in told.items() if np.isfinite(v)}, number)

    def after_training(self, *, summary: "Mapping[str, Any]", **others: Any) -> None:
        test = {
            f"test/{metric}/{scenario}/{task}": cell[metric]
            for scenario, tasks in summary["test"].items()
            for task, cell in tasks.items()
            for metric in _SHOWN
            if cell[metric] is not None
        }
        if summary["mean_auc"] is not None:
            test["test/mean_auc"] = summary["mean_auc"]
        self.store(test, summary["best_round"])

    def _named(self, split: str, values: np.ndarray) -> "Iterator[tuple[str, float]]":
        for s, scenario in enumerate(self.dataset.scenarios):
            for t, task in enumerate(self.dataset.schema.tasks):
                for metric in _SHOWN:
                    place = metrics_lib.METRICS.index(metric)
                    yield f"{split}/{metric}/{scenario}/{task.name}", values[s, t, place]


class TensorBoard(Watcher):
    """Writes event files: scalars by scenario and task, and the plan as hyperparameters.

    Args:
      plan, dataset: see `Watcher`.
      directory: where to; `tensorboard --logdir=DIRECTORY` shows it.
    """

    def __init__(
        self, plan: plan_lib.Plan, dataset: dataset_lib.Dataset, directory: pathlib.Path
    ) -> None:
        super().__init__(plan, dataset)
        self._directory = directory
        self._writer: Optional[tf.summary.SummaryWriter] = None

    def before_training(self, **others: Any) -> None:  # type: ignore[override]
        # At its use alone: it is TensorFlow's to bring, and importing it takes a while.
        from tensorboard.plugins.hparams import api

        self._writer = tf.summary.create_file_writer(str(self._directory))
        with self._writer.as_default():
            api.hparams(hyperparameters(self.plan), trial_id=str(self._directory))

    def store(self, values: Mapping[str, float], step: int) -> None:
        assert self._writer is not None
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)
        self._writer.flush()

    def after_training(self, **others: Any) -> None:  # type: ignore[override]
        super().after_training(**others)
        assert self._writer is not None
        self._writer.close()


class MLflow(Watcher):
    """Logs a training as a run of MLflow, where that is installed; where to, MLflow's own settings
    say (MLFLOW_TRACKING_URI).

    Args:
      plan, dataset: see `Watcher`.
      experiment: its name.
      run: the run's name.

    Raises:
      PfrecError: where MLflow is not installed.
    """

    def __init__(
        self, plan: plan_lib.Plan, dataset: dataset_lib.Dataset, experiment: str, run: str
    ) -> None:
        super().__init__(plan, dataset)
        try:
            self._mlflow: Any = importlib.import_module("mlflow")
        except ImportError as error:
            raise errors.PfrecError(
                f"MLflow cannot be imported ({error}); pip install 'mlflow-skinny<3', or leave "
                "--mlflow out"
            ) from error
        self._experiment, self._name = experiment, run

    def before_training(self, **others: Any) -> None:  # type: ignore[override]
        self._mlflow.set_experiment(self._experiment)
        self._mlflow.start_run(run_name=self._name)
        self._mlflow.log_params(hyperparameters(self.plan))

    def store(self, values: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def after_training(self, **others: Any) -> None:  # type: ignore[override]
        super().after_training(**others)
        self._mlflow.end_run()


def hyperparameters(plan: plan_lib.Plan) -> "dict[str, Value]":
    """A plan as named values, those of its parts under the path of their names."""
    return dict(_flat(plan.to_json(), ""))


def _flat(value: Mapping[str, Any], start: str) -> "Iterator[tuple[str, Value]]":
    for name, entry in sorted(value.items()):
        if isinstance(entry, Mapping):
            yield from _flat(entry, f"{start}{name}.")
        elif isinstance(entry, (bool, int, float, str)):
            yield f"{start}{name}", entry
        elif isinstance(entry, Sequence):
            yield f"{start}{name}", ",".join(map(str, entry))
