"""What tells a server, or who holds an exported model, that a row or an id was trained on.

    python benchmarks/membership.py [--data=DATA] [--rounds=8] [--dp_epsilon=8 [--dp_clip=3]]
        [--quick]

Trains `pf_msmtrec` and attacks it without knowing more than what leaves, or than what is exported:

- `loss`: rows that the served model of a scenario predicts well were trained on; training rows
  against test rows. `loss_of_rare_ids`: the same among rows with an id of a shared table that the
  training rows hold at most three times.
- `moved`: an id of a shared table is in a scenario's training rows if the scenario's updates moved
  its row; `moved_far`: the more, the farther they moved it.
- `trained_ids`: an id of a private table is in a scenario's training rows if its row in the trained
  model is not what the run's seed began with; `trained_rare_ids`: the same among ids that fewer
  rows hold than `pfrec-export --least_rows=8` leaves their row.
- `exported_ids`, `exported_rare_ids`: the same in the exported model, if its row is not that of the
  unknown id.
- `decoy_ids`: the same if an export gave each id that `--least_rows` hides a row of its own, not
  the unknown id's: its first values and a change drawn from a Gaussian with the mean and the
  covariance of the changes of the ids that keep theirs. The attack is the best of four: how far a
  row, and its change, are from the mean of those of held ids, as they are and by the covariance. No
  export does that: `auc_decoys` beside `auc_exported` is what it would cost where ids are rare.

With `--dp_epsilon` the model that is attacked is the released one, without a home model; it has no
private tables.

Each is the AUC of the attack, the mean over scenarios: 0.5 is chance, 1 certainty; where scenarios
have no such ids it is left out. `auc_trained` and `auc_exported` are the mean test AUC of both
models, `auc_rare_exported` and `auc_rare_decoys` among test rows with a hidden id. The last line is
JSON.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np
import tensorflow as tf

from benchmarks import reconstruct_rows
from export.exporting import build, hidden_ids
from export.exporting import trained as trained_lib
from pfrec import groups
from pfrec.data import schema as schema_lib
from pfrec.data import synthetic
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import row_block
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process import plan as plan_lib
from tff_process.training import loop

_RARE = 3


def losses(model: tf.keras.Model, rows: row_block.Rows, task: str) -> np.ndarray:
    """The cross-entropy of each row's first label, float64 [rows]."""
    features = {"categorical": rows.categorical, "numerical": rows.numerical}
    logits = model({k: tf.constant(v) for k, v in features.items()}, training=False)[task]
    labels = tf.constant(rows.labels[:, 0], tf.float32)
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, logits).numpy().astype(np.float64)


def _test_auc(model: tf.keras.Model, rows: row_block.Rows, schema: schema_lib.Schema) -> float:
    """The AUC of the first task."""
    labels = rows.labels[:, 0]
    # Of positives the loss falls with the logit, of negatives it rises.
    loss = losses(model, rows, schema.tasks[0].name)
    probability = np.where(labels == 1, np.exp(-loss), -np.expm1(-loss))
    return reconstruct_rows.auc(probability, labels.astype(int))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, help="a dataset; generated where not given")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--dp_epsilon", type=float, default=0.0)
    parser.add_argument("--dp_clip", type=float, default=plan_lib.Plan.dp_clip)
    parser.add_argument("--quick", action="store_true", help="two rounds on few generated rows")
    arguments = parser.parse_args()
    rounds = 2 if arguments.quick else arguments.rounds
    plan = plan_lib.Plan(
        "pf_msmtrec",
        rounds=rounds,
        model=ModelConfig(experts=2),
        dp_epsilon=arguments.dp_epsilon,
        dp_clip=arguments.dp_clip,
        home_epochs=0.0,
    )
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.data or pathlib.Path(folder) / "data"
        if arguments.data is None:
            rows = 2000 if arguments.quick else 20_000
            synthetic.generate(path, scenarios=2, rows=rows, shared=0.5, seed=0)
        dataset = dataset_lib.Dataset.open(path)
        run = loop.train(plan, dataset, pathlib.Path(folder) / "run").run
        steps = reconstruct_rows.record(plan, dataset, pathlib.Path(folder) / "recorded")
        trained = trained_lib.Run(run.path, path)
        first = {t.name: t.variable.numpy() for t in groups.tag(_fresh(dataset, plan))}
        for number, scenario in enumerate(dataset.scenarios):
            _attack(dataset, scenario, trained, first, steps[number], found)
    print(json.dumps({name: round(float(np.nanmean(v)), 4) for name, v in sorted(found.items())}))


def decoys(
    table: np.ndarray, first: np.ndarray, few: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """The table with rows for its `few` ids, bool [ids], that look like those of the others."""
    change = (table - first)[~few]
    drawn = generator.multivariate_normal(change.mean(axis=0), np.cov(change.T), few.sum())
    made = table.copy()
    made[few] = first[few] + drawn
    return made


def told_from_decoys(table: np.ndarray, first: np.ndarray, member: np.ndarray) -> float:
    """The AUC of the best of the attacks on decoys, which may go either way."""
    found = []
    for rows in (table, table - first):
        away = rows - rows[member].mean(axis=0)
        inverse = np.linalg.pinv(np.cov(rows[member].T))
        for score in (
            np.linalg.norm(away, axis=1),
            np.einsum("ij,jk,ik->i", away, inverse, away),
        ):
            found.append(abs(reconstruct_rows.auc(score, member.astype(int)) - 0.5))
    return 0.5 + max(found)


def _fresh(dataset: dataset_lib.Dataset, plan: plan_lib.Plan) -> tf.keras.Model:
    return mmoe.build(dataset.schema, plan.model, plan.seed)


def _attack(dataset, scenario, run, first, steps, found) -> None:
    def add(name: str, score: np.ndarray, member: np.ndarray) -> None:
        found.setdefault(name, []).append(reconstruct_rows.auc(score, member.astype(int)))

    schema = dataset.schema
    inside, outside = (
        reconstruct_rows.stored(dataset, scenario, split) for split in ("train", "test")
    )
    model = run.trained(scenario, 1).network
    score = -np.concatenate(
        [losses(model, rows, schema.tasks[0].name) for rows in (inside, outside)]
    )
    member = np.concatenate([np.ones(len(inside), bool), np.zeros(len(outside), bool)])
    add("loss", score, member)
    tables = {
        item.name: item.variable.numpy() for item in groups.tag(model) if item.kind == "embedding"
    }
    hidden, _ = hidden_ids.hide(run.trained(scenario, 1), build.Options.least_rows)
    exported = {t.name: t.variable.numpy() for t in groups.tag(hidden.network)}
    found.setdefault("auc_trained", []).append(_test_auc(model, outside, schema))
    found.setdefault("auc_exported", []).append(_test_auc(hidden.network, outside, schema))
    rare, hidden_rows = np.zeros(len(member), bool), np.zeros(len(outside), bool)
    variables = {item.name: item.variable for item in groups.tag(hidden.network)}
    generator = np.random.default_rng(0)
    for place, feature in zip(schema.id_places, schema.categorical):
        ids = np.concatenate([rows.categorical[:, place.start] for rows in (inside, outside)])
        name = next(name for name in tables if name.startswith(f"embedding/{feature.name}/"))
        held = inside.categorical[:, place.start]
        counts = np.bincount(held, minlength=len(tables[name]))
        if feature.policy == "shared":
            rare |= counts[ids] <= _RARE
            moved = np.any([step.moved[name] for step in steps], axis=0)
            add("moved", moved.astype(float), counts > 0)
            add("moved_far", np.sum([step.size[name] for step in steps], axis=0), counts > 0)
        elif feature.encoding != "local_vocabulary" and tables[name].any():
            few = counts < build.Options.least_rows
            for kind, table, other in (
                ("trained", tables[name], first[name]),
                ("exported", exported[name], exported[name][-1:]),
            ):
                told = (table != other).any(axis=1).astype(float)
                add(f"{kind}_ids", told, counts > 0)
                if np.any(counts[few] > 0):
                    add(f"{kind}_rare_ids", told[few], counts[few] > 0)
            few[-1] = False  # The unknown id's.
            if (~few).sum() > table.shape[1] and few.any():
                made = decoys(tables[name], first[name], few, generator)
                found.setdefault("decoy_ids", []).append(
                    told_from_decoys(made[:-1], first[name][:-1], counts[:-1] > 0)
                )
                variables[name].assign(made)
                hidden_rows |= few[outside.categorical[:, place.start]]
    found.setdefault("auc_decoys", []).append(_test_auc(hidden.network, outside, schema))
    if hidden_rows.any():
        few_rows = outside.take(np.flatnonzero(hidden_rows))
        found.setdefault("auc_rare_decoys", []).append(_test_auc(hidden.network, few_rows, schema))
        for name, table in exported.items():
            variables[name].assign(table)
        found.setdefault("auc_rare_exported", []).append(
            _test_auc(hidden.network, few_rows, schema)
        )
    if rare.any():
        add("loss_of_rare_ids", score[rare], member[rare])


if __name__ == "__main__":
    main()
