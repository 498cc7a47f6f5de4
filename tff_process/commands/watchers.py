"""The flags by which others watch a training: TensorBoard and MLflow."""

import importlib.util
import os
import pathlib
from typing import TYPE_CHECKING

from absl import flags

from pfrec import errors

if TYPE_CHECKING:
    from pfrec.data.dataset import dataset as dataset_lib
    from tff_process import plan as plan_lib
    from tff_process.training import callbacks


def define(place: str) -> None:
    """Defines the flags; `place` says where event files go."""
    flags.DEFINE_bool(
        "tensorboard",
        None,
        f"Write {place}: scalars by scenario and task, and the plan as hyperparameters; a run that "
        "has it goes on with it.",
    )
    flags.DEFINE_string(
        "mlflow",
        None,
        "Log to this experiment of MLflow, where that is installed; where to, MLFLOW_TRACKING_URI "
        "says.",
    )


def require(*, simulated: bool) -> None:
    """Checks that MLflow can be told of a training where the flags ask for it, before TensorFlow
    is imported.

    Raises:
      PfrecError: where it is not installed, or its server is out of reach.
    """
    if not flags.FLAGS.mlflow:
        return
    if importlib.util.find_spec("mlflow") is None:
        raise errors.PfrecError("--mlflow: MLflow is not installed; pip install 'mlflow-skinny<3'")
    place = os.environ.get("MLFLOW_TRACKING_URI", "")
    if simulated and place.startswith(("http:", "https:")):
        raise errors.PfrecError(
            f"--mlflow: MLFLOW_TRACKING_URI={place} is out of reach, as a simulation enters a "
            "network of its own; let it be a directory, which `mlflow server` serves as well"
        )


def of_run(
    plan: "plan_lib.Plan", dataset: "dataset_lib.Dataset", run: pathlib.Path, name: str
) -> "list[callbacks.Callback]":
    """Who is told of a training, as the flags ask.

    Args:
      plan: of the training.
      dataset: that it is on.
      run: its directory, of which event files are a part.
      name: that it has at MLflow.
    """
    from tff_process.training import watching

    told: list[callbacks.Callback] = []
    asked = flags.FLAGS.tensorboard
    if asked or (asked is None and (run / watching.TENSORBOARD).is_dir()):
        told.append(watching.TensorBoard(plan, dataset, run / watching.TENSORBOARD))
    if flags.FLAGS.mlflow:
        told.append(watching.MLflow(plan, dataset, flags.FLAGS.mlflow, name))
    return told
