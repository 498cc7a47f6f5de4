"""Which rows of a client a server reads off what it is sent: by exact counts, as pfrec 0.1.0 sent
them, and by what is sent now.

    python benchmarks/reconstruct_rows.py [--data=DATA] [--rounds=20] [--quick]

The server keeps what each aggregation step brings, and guesses in which steps each row position of
a client's training data was trained on. Three attacks on the ids of the shared tables and one on
labels:

- `exact counts`: each step's count of an id is a sum over the positions in it (group testing); ids
  whose system has one solution alone are read off, their positions are struck from the others, and
  so on. In version 0.1.0 the order followed from the run's seed, and the counts were sent.
- `moved`: each position is given the id whose row moved in the steps that the position was in and
  not in others.
- `size of change`: the same with how far the row moved in a step, beside the step before.
- `loss`: a position's score is the mean loss of its steps; its AUC for the first task's label is
  0.5 by chance.

The last line is JSON: for `before` (0.1.0's counts and order, recomputed from the rows) and `after`
(a run's own reports, and 0.1.0's guess of the order), the share of rows read off, or the right
share of guesses beside that of always guessing the most frequent id.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np
import tensorflow as tf

from pfrec import run_directory
from pfrec.data import schema as schema_lib
from pfrec.data import synthetic
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline, row_block, shards
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.algorithms import robust as robust_lib
from tff_process.process import round_report
from tff_process.runtime import options as options_lib
from tff_process.runtime import simulation
from tff_process.training import results, spreading

_POSITIONS = schema_lib.Schema(
    (), (schema_lib.Numerical("none"),), (schema_lib.Task("no_task", "no_task"),), group="position"
)


@dataclasses.dataclass(frozen=True)
class Step:
    """What the server has of a client's part in an aggregation step.

    Attributes:
      first, count, epoch: the client's batches, which the server asked for: from, how many, and
        batches of an epoch.
      moved: by table, bool [ids]; whether training changed the row.
      size: by table, float32 [ids]; the length of the change.
      loss: as reported.
    """

    first: int
    count: int
    epoch: int
    moved: "dict[str, np.ndarray]"
    size: "dict[str, np.ndarray]"
    loss: float


def record(
    plan: plan_lib.Plan, dataset: dataset_lib.Dataset, path: pathlib.Path
) -> "list[list[Step]]":
    """A training as the server sees it: each client's steps."""
    run = run_directory.RunDirectory.create(path, {"scenarios": list(dataset.scenarios)})
    seen: list[list[Step]] = [[] for _ in dataset.scenarios]
    with simulation.resident_training(plan, dataset, run, options_lib.Options()) as training:
        apply = training.server.apply

        def applied(reports, stack):
            for client, report in reports.items():
                work, before = training._work(client, 0), training._received(client)
                change = {
                    spec.name: report["values"][spec.name] - before[spec.name]
                    for spec in training.layout.specs
                    if spec.counts_rows
                }
                seen[client].append(
                    Step(
                        int(work["first_step"]),
                        int(work["steps"]),
                        int(work["epoch_steps"]),
                        {name: value.any(axis=-1) for name, value in change.items()},
                        {name: np.linalg.norm(value, axis=-1) for name, value in change.items()},
                        float(report["loss"]),
                    )
                )
            return apply(reports, stack)

        training.server.apply = applied
        for number in range(plan.rounds):
            report = training.train_round(number)
            find_spread(training, report)
    return seen


def find_spread(training: Any, report: round_report.RoundReport) -> None:
    """What the loop does with a federated training after a round, see `training.spreading`."""
    if training.finds_spread:

        def measure(factors: "Sequence[float]") -> np.ndarray:
            told = training.evaluate_spreads("valid", factors)
            return np.stack([results.measured(training.dataset, values) for values in told])

        robust = training.plan.robust != robust_lib.NONE
        spreading.after_round(training, report, measure, robust)


def positions(
    rows: int, batch_size: int, seed: int, steps: "list[Step]", folder: pathlib.Path
) -> np.ndarray:
    """The positions in each step if the order followed from `seed`: bool [steps, rows]."""
    writer = shards.ShardWriter(folder, "train", _POSITIONS)
    number = np.arange(rows)
    writer.add(
        row_block.Rows(
            np.zeros([rows, 0], np.int32),
            np.zeros([rows, 1], np.float32),
            np.zeros([rows, 1], np.uint8),
            number,
        )
    )
    written = writer.finish()
    writer.rename(written)
    paths = tf.constant([str(final) for _, final in written])
    found = np.zeros([len(steps), rows], bool)
    orders: dict[int, list[np.ndarray]] = {}
    for place, step in enumerate(steps):
        for batch in range(step.first, step.first + step.count):
            epoch = batch // step.epoch
            if epoch not in orders:
                stream = pipeline.epoch_batches(
                    paths,
                    _POSITIONS,
                    batch_size,
                    seed=tf.constant(seed, tf.int64),
                    epoch=epoch,
                    first_step=0,
                    steps=step.epoch,
                )
                orders[epoch] = [b["group"].numpy() for b in stream]
            found[place, orders[epoch][batch % step.epoch]] = True
    return found


def read_off(present: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Solves exact counts for the id of each position.

    Args:
      present: bool [steps, rows].
      counts: int [steps, ids].

    Returns:
      int [rows], -1 where the id is not certain.
    """
    found = np.full(present.shape[1], -1)
    inside = present.astype(np.float32)
    left = counts.T.copy()
    progress = True
    while progress:
        progress = False
        for number in range(counts.shape[1]):
            if not left[number].any():
                continue
            # Who was in a step without the id has another one.
            elsewhere = (left[number] == 0).astype(np.float32) @ inside
            candidates = np.flatnonzero((found < 0) & (elsewhere == 0))
            # More unknowns than steps have no single solution.
            if not 0 < len(candidates) <= len(counts):
                continue
            system = present[:, candidates].astype(float)
            if np.linalg.matrix_rank(system) < len(candidates):
                continue
            solution = np.rint(np.linalg.lstsq(system, left[number], rcond=None)[0])
            if np.array_equal(system @ solution, left[number]) and solution.any():
                sure = candidates[solution > 0]
                found[sure] = number
                left[number] -= present[:, sure].sum(axis=1)
                progress = True
    return found


def guess(present: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """The id whose signal [steps, ids] goes best with the steps that a position was in,
    int [rows].
    """
    inside = present - present.mean(axis=0)
    score = inside.T @ (signal - signal.mean(axis=0)) / np.maximum(signal.std(axis=0), 1e-12)
    return score.argmax(axis=1)


def newly(size: np.ndarray) -> np.ndarray:
    """By how much more a row moved than in the step before, float [steps, ids]."""
    before = np.concatenate([np.zeros_like(size[:1]), size[:-1]])
    return size - before


def auc(score: np.ndarray, label: np.ndarray) -> float:
    """The share of (positive, negative) pairs in the right order, a tie counting half."""
    rank = np.searchsorted(np.sort(score), score, side="left") + np.searchsorted(
        np.sort(score), score, side="right"
    )
    positives = label == 1
    pairs = positives.sum() * (~positives).sum()
    return (
        float((rank[positives].sum() / 2 - positives.sum() ** 2 / 2) / pairs)
        if pairs
        else float("nan")
    )


@dataclasses.dataclass
class Score:
    """How often an attack was right.

    Attributes:
      rows: positions.
      read: that `read_off` was sure of; right: of them.
      by_table: of each shared table, rows read off rightly.
      moved, size: right guesses of each attack.
      chance: rows of each table's most frequent id.
      loss: the AUC of the losses for the first task's labels, by client.
    """

    rows: int = 0
    read: int = 0
    right: int = 0
    by_table: "collections.Counter[str]" = dataclasses.field(default_factory=collections.Counter)
    moved: int = 0
    size: int = 0
    chance: int = 0
    loss: "list[float]" = dataclasses.field(default_factory=list)

    def to_json(self) -> "dict[str, float]":
        """Shares of all positions; `read_off` of those of the table that gives most away."""
        share = {
            name: round(getattr(self, name) / self.rows, 4) for name in ("moved", "size", "chance")
        }
        most = max(self.by_table.values(), default=0)
        return {
            "read_off": round(len(self.by_table) * most / self.rows, 4),
            "of_those_said": round(self.right / self.read, 4) if self.read else None,
            **share,
            "label_auc": round(float(np.nanmean(self.loss)), 3),
        }


def attack(
    dataset: dataset_lib.Dataset,
    plan: plan_lib.Plan,
    steps: "list[list[Step]]",
    order: "dict[int, int]",
    exact: bool,
) -> Score:
    """Runs all attacks.

    Args:
      dataset: to judge by, and to recompute exact counts from.
      plan: of the run.
      steps: by client, what the server has.
      order: by client, the seed that the server takes its order of rows to follow from.
      exact: whether exact counts in the true order of `order` were sent, as in 0.1.0.
    """
    score = Score()
    places = {feature.name: number for number, feature in enumerate(dataset.schema.categorical)}
    for client, scenario in enumerate(dataset.scenarios):
        rows = stored(dataset, scenario)
        with tempfile.TemporaryDirectory() as folder:
            present = positions(
                len(rows), plan.batch_size, order[client], steps[client], pathlib.Path(folder)
            )
        losses = np.array([step.loss for step in steps[client]])
        score.loss.append(auc(present.T @ (losses - losses.mean()), rows.labels[:, 0]))
        for name in steps[client][0].moved:
            ids = rows.categorical[:, places[name.split("/")[1]]]
            moved = np.array([step.moved[name] for step in steps[client]], float)
            size = np.array([step.size[name] for step in steps[client]])
            score.rows += len(ids)
            score.chance += int(np.bincount(ids).max())
            score.moved += int((guess(present, moved) == ids).sum())
            score.size += int((guess(present, newly(size)) == ids).sum())
            if exact:
                counts = np.array(
                    [np.bincount(ids[row], minlength=moved.shape[1]) for row in present]
                )
                found = read_off(present, counts)
                score.read += int((found >= 0).sum())
                right = int((found == ids)[found >= 0].sum())
                score.right += right
                score.by_table[name] += right
    return score


def stored(dataset: dataset_lib.Dataset, scenario: str, split: str = "train") -> row_block.Rows:
    """A scenario's rows of a split as they lie in its shards."""
    parts = [
        row_block.decode(record, dataset.schema)
        for shard in dataset.shards(scenario, split)
        for record in tf.data.TFRecordDataset(shard).as_numpy_iterator()
    ]
    return row_block.joined(parts)


def public_order(plan: plan_lib.Plan, client: int) -> int:
    """The seed that 0.1.0 drew a client's order from, which whoever knows the plan can compute."""
    return pipeline.stream_seed(plan.seed, client)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=pathlib.Path,
        help="a dataset with a shared table; generated rows where not given",
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="few generated rows and four rounds")
    arguments = parser.parse_args()
    plan = plan_lib.Plan(
        "pf_msmtrec",
        rounds=4 if arguments.quick else arguments.rounds,
        batch_size=256,
        model=ModelConfig(experts=2),
    )
    with tempfile.TemporaryDirectory() as folder:
        if arguments.data is None:
            path = pathlib.Path(folder) / "data"
            synthetic.generate(
                path, scenarios=2, rows=2000 if arguments.quick else 20_000, shared=0.5, seed=0
            )
        else:
            path = arguments.data
        dataset = dataset_lib.Dataset.open(path)
        steps = record(plan, dataset, pathlib.Path(folder) / "run")
        order = {client: public_order(plan, client) for client in range(len(dataset.scenarios))}
        score = attack(dataset, plan, steps, order, exact=True)
    # The reports are not those of a 0.1.0 run: of `before` the counts alone speak.
    solved, guessed = ("read_off", "of_those_said"), ("moved", "size", "chance", "label_auc")
    found = score.to_json()
    result = {
        "before": {name: found[name] for name in solved},
        "after": {name: found[name] for name in guessed},
    }
    for name, right in score.by_table.items():
        rows = score.rows // len(score.by_table)
        print(f"{name}: {right:,} of {rows:,} rows read off exact counts")
    print(json.dumps(result, sort_keys=True))


if __name__ == "__main__":
    main()
