"""What a hostile driver reads off the metrics of a silo that evaluates models that it chose.

    python benchmarks/evaluation_queries.py [--data=DATA] [--evaluations=120] [--quick]

The driver sends values under which the logit of a row depends on its id of one shared feature
alone. A first evaluation tells how many valid rows there are. Each two further ones tell of
`_TOGETHER` ids at once how many negative and positive valid rows hold them: the log loss is a sum
over rows, and each id has a place of its own in it, like digits of a number. Asked for are the ids
that are told to be met less than 8 times in training, whose few rows need no more than a digit.

The metrics are those that leave a silo, rounded and bounded (`pfrec.coarsening`). The last line is
JSON: evaluations made, ids asked for, how many of those counts are right for every task, valid rows
of the ids, and rows whose label of the first task is known since all rows of the id have it.
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
from pfrec import coarsening, evaluation, groups, metrics
from pfrec.data import schema as schema_lib
from pfrec.data import synthetic
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe

_TOGETHER, _FIRST_PLACE, _RADIX = 4, 20.0, 8
_CHOSEN = ("embedding", "numeric", "expert", "gate", "tower")
_LOGLOSS, _ROWS = metrics.METRICS.index("logloss"), metrics.METRICS.index("rows")


class Silo:
    """Evaluates whatever it is sent on a scenario's valid rows.

    Args:
      dataset, scenario: whose.
      feature: the shared one that the driver asks about.
    """

    def __init__(
        self, dataset: dataset_lib.Dataset, scenario: str, feature: schema_lib.Categorical
    ) -> None:
        schema = dataset.schema
        self._network = mmoe.build(schema, ModelConfig(experts=2), 0)
        self._evaluator = evaluation.Evaluator(self._network, schema)
        self._shards = tf.constant([str(shard) for shard in dataset.shards(scenario, "valid")])
        self._variables = {
            item.name: item.variable for item in groups.tag(self._network) if item.kind in _CHOSEN
        }
        self._table = next(n for n in self._variables if n.startswith(f"embedding/{feature.name}/"))
        first = schema.categorical.index(feature) * ModelConfig().embedding_dim
        self._first = first
        self.evaluations = 0
        # Batch normalisation keeps its first values, which a driver knows: what it makes of a 1.
        self._send(np.ones(self._variables[self._table].shape[0]), 1.0)
        row = {
            "categorical": tf.zeros([1, schema.id_columns], tf.int32),
            "numerical": tf.zeros([1, schema.number_columns]),
        }
        logits = self._network(row, training=False)
        self._scale = [float(logits[task.name][0]) for task in schema.tasks]

    def _send(self, values: np.ndarray, sign: float) -> None:
        for name, variable in self._variables.items():
            chosen = np.zeros(variable.shape, np.float32)
            if name == self._table:
                chosen[:, 0] = values
            elif name.startswith("expert") and name.endswith("dense_0/kernel"):
                chosen[self._first, 0] = 1.0
            elif name.startswith(("expert", "tower")) and name.endswith("kernel"):
                chosen[0, 0] = sign if "logit" in name else 1.0
            variable.assign(chosen)

    def told(self, logits: np.ndarray, sign: float = 1.0) -> np.ndarray:
        """The log loss [tasks] and the rows as they leave, with a logit for each id."""
        self.evaluations += 1
        self._send(logits / self._scale[0], sign)
        return coarsening.evaluated(self._evaluator(self._shards)).numpy()


def rows_of(silo: Silo, ids: int) -> int:
    """How many valid rows there are: the share of negative ones, which the loss tells where every
    row has a large logit, is a fraction of this denominator for every task.
    """
    largest = coarsening.LARGEST_LOSS
    told = silo.told(np.full(ids, largest))
    shares, about = told[:, _LOGLOSS] / largest, int(told[0, _ROWS])
    # Positives and negatives are told to two digits each.
    candidates = np.arange(about, int(about * 1.1) + 20)
    off = np.abs(np.rint(np.outer(candidates, shares)) / candidates[:, np.newaxis] - shares)
    return int(candidates[off.max(axis=1).argmin()])


def counts_of(silo: Silo, ids: int, asked: np.ndarray, rows: int, sign: float) -> np.ndarray:
    """How many rows of each id asked for have a label that costs: negative ones where its logit is
    large, positive ones where that has the other sign; int [ids, tasks].
    """
    places = _FIRST_PLACE * float(_RADIX) ** np.arange(len(asked))
    logits = np.zeros(ids)
    logits[asked] = places
    losses = silo.told(logits, sign)[:, _LOGLOSS] * rows
    found = np.zeros([len(asked), len(losses)], int)
    # The other rows cost log 2 each; those of these ids, a few, do not.
    for task, loss in enumerate(losses):
        left = loss - rows * np.log(2.0) + _FIRST_PLACE / 2
        for place in reversed(range(len(asked))):
            found[place, task] = max(0, int(left // places[place]))
            left -= found[place, task] * places[place]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, help="a dataset; generated where not given")
    parser.add_argument("--evaluations", type=int, default=120)
    parser.add_argument("--quick", action="store_true", help="few evaluations on generated rows")
    arguments = parser.parse_args()
    most = 9 if arguments.quick else arguments.evaluations
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.data or pathlib.Path(folder) / "data"
        if arguments.data is None:
            synthetic.generate(path, scenarios=2, rows=5000, shared=0.5, seed=0)
        dataset = dataset_lib.Dataset.open(path)
        scenario, schema = dataset.scenarios[0], dataset.schema
        shared = [feature for feature in schema.categorical if feature.policy == "shared"]
        feature = max(shared, key=lambda of: of.cardinality)
        column = schema.id_places[schema.categorical.index(feature)].start
        train, valid = (
            reconstruct_rows.stored(dataset, scenario, split) for split in ("train", "valid")
        )
        silo = Silo(dataset, scenario, feature)
        ids = silo._variables[silo._table].shape[0]
        met = np.bincount(train.categorical[:, column], minlength=ids)
        rare = np.flatnonzero(met < coarsening.FLOOR)
        rows = rows_of(silo, ids)
        right = held = known = asked = 0
        for start in range(0, len(rare), _TOGETHER):
            if silo.evaluations + 2 > most:
                break
            some = rare[start : start + _TOGETHER]
            negative, positive = (counts_of(silo, ids, some, rows, s) for s in (1.0, -1.0))
            for place, number in enumerate(some):
                labels = valid.labels[valid.categorical[:, column] == number]
                true = np.array([(labels == 0).sum(axis=0), (labels == 1).sum(axis=0)])
                here = np.array([negative[place], positive[place]])
                asked, held = asked + 1, held + len(labels)
                if np.array_equal(here, true):
                    right += 1
                    known += len(labels) if here[:, 0].min() == 0 else 0
    result = {"evaluations": silo.evaluations, "ids": asked, "right": right}
    print(json.dumps({**result, "rows": held, "labels": known, "valid_rows": len(valid)}))


if __name__ == "__main__":
    main()
