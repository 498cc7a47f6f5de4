"""How exactly inference folding keeps a run's models:
differences and changed places over all test rows.

    python benchmarks/serving_parity.py --run=RUN

Prints per scenario and task the largest difference in probability and how many pairs of rows change
places, in all and among those whose trained probabilities differ by more than 1e-6. The last line
is JSON with the same over all.
"""

import argparse
import json
import os
import pathlib

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, type=pathlib.Path, help="a finished run directory")
    options = parser.parse_args()
    import tensorflow as tf

    from export.checks import answers
    from export.graph import folded_network, folding
    from pfrec import run_directory, run_model
    from pfrec.data.dataset import row_block

    run = run_directory.open_run(options.run)
    total = {
        "largest_difference": 0.0,
        "pairs": 0,
        "changed_places": 0,
        "changed_places_beyond_1e-6": 0,
    }
    for scenario in run.scenarios:
        network = run_model.load(run, scenario)
        sides = (network, folded_network.FoldedNetwork(folding.fold(network)))
        given: list[dict[str, list[np.ndarray]]] = [{}, {}]
        for shard in run.dataset.shards(scenario, "test"):
            for record in tf.data.TFRecordDataset(shard).as_numpy_iterator():
                rows = row_block.decode(record, run.schema)
                inputs = {
                    "categorical": tf.constant(rows.categorical),
                    "numerical": tf.constant(rows.numerical),
                }
                for side, found in zip(sides, given):
                    for task, logits in side(inputs, training=False).items():
                        found.setdefault(task, []).append(tf.sigmoid(logits).numpy())
        for task in given[0]:
            trained, folded = (np.concatenate(found[task]) for found in given)
            difference = float(np.abs(trained - folded).max())
            changed, beyond = (
                answers.inversions(trained, folded),
                answers.inversions(trained, folded, answers.RANKING_RESOLUTION),
            )
            pairs = len(trained) * (len(trained) - 1) // 2
            print(
                f"{scenario} {task}: {len(trained)} rows, difference {difference:.2g}, {changed} "
                f"of {pairs} pairs change places"
            )
            total["largest_difference"] = max(total["largest_difference"], difference)
            for key, value in (
                ("pairs", pairs),
                ("changed_places", changed),
                ("changed_places_beyond_1e-6", beyond),
            ):
                total[key] += value
    print(json.dumps(total, sort_keys=True))


if __name__ == "__main__":
    main()
