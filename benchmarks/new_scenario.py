"""A new scenario with few rows: from the consensus of the others against training alone.

`--quick` for a smoke run.

Four scenarios of synthetic data are trained together, the fifth, whose rows are cut, joins
(`pfrec-train --init_from --new_scenario`) or trains alone from a fresh start, with as many rounds
at most, the round chosen on its own valid rows. Mean test AUC over its tasks.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np
import tensorflow as tf

from pfrec.data import synthetic
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import row_block, writer
from tff_process import plan as plan_lib
from tff_process.process import joining
from tff_process.training import loop

NEW = "S1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", default="500,2000,10000", help="Training rows of the newcomer.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--others",
        type=int,
        default=40_000,
        help="Rows of the newcomer before it is cut; the others have fewer.",
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(
        "--patience",
        type=int,
        default=4,
        help="A training ends after so many rounds that were no better.",
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows, arguments.seeds, arguments.others, arguments.rounds = "500", 1, 4000, 2
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory)
            whole = dataset_lib.Dataset.open(
                synthetic.generate(path / "data", scenarios=5, rows=arguments.others, seed=seed)
            )
            others = dataclasses.replace(
                whole, scenarios=tuple(s for s in whole.scenarios if s != NEW)
            )
            asked = plan_lib.Plan(
                "pf_msmtrec", rounds=arguments.rounds, patience=arguments.patience, seed=seed
            )
            loop.train(asked, others, path / "run")
            # Few rows are few steps: small batches for the newcomer, on both sides.
            asked = dataclasses.replace(asked, batch_size=64)
            newcomers = asked.of_newcomer(str((path / "run").resolve()), asked.model)
            for count in arguments.rows.split(","):
                few = cut(whole, path / f"data_{count}", int(count))
                joining.check(path / "run", few, NEW)
                joined = loop.train(newcomers, few, path / f"joined_{count}")
                alone = loop.train(
                    dataclasses.replace(asked, algorithm="local", settings=None),
                    few,
                    path / f"alone_{count}",
                )
                found.setdefault(count, []).append(
                    (joined.summary["mean_auc"], alone.summary["mean_auc"])
                )
                print(
                    f"seed {seed}, {count} rows: joined {found[count][-1][0]:.4f}, alone "
                    f"{found[count][-1][1]:.4f}",
                    flush=True,
                )
    result = {}
    for count, pairs in found.items():
        joined_auc, alone_auc = (statistics.mean(values) for values in zip(*pairs))
        gains = [joined - alone for joined, alone in pairs]
        deviation = statistics.stdev(gains) if len(gains) > 1 else 0.0
        result[count] = {
            "joined": round(joined_auc, 4),
            "alone": round(alone_auc, 4),
            "gain": round(joined_auc - alone_auc, 4),
            "gain_deviation": round(deviation, 4),
        }
    print(json.dumps(result))


def cut(whole: dataset_lib.Dataset, path: pathlib.Path, rows: int) -> dataset_lib.Dataset:
    """The newcomer with its first `rows` training rows, a seventh as many valid rows,
    and all test rows.
    """
    counts = {"train": rows, "valid": max(100, rows // 7), "test": whole.rows(NEW, "test")}
    with writer.DatasetWriter(
        path, whole.schema, source_format="synthetic", split_seed=0
    ) as target:
        for split, count in counts.items():
            left = count
            for record in tf.data.TFRecordDataset(whole.shards(NEW, split)).as_numpy_iterator():
                block = row_block.decode(record, whole.schema)
                target.add(NEW, split, block.take(np.arange(min(left, len(block)))))
                left -= min(left, len(block))
                if not left:
                    break
    return dataset_lib.Dataset.open(path)


if __name__ == "__main__":
    main()
