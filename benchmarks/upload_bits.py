"""Bytes of an upload beside AUC: what rounding of what leaves costs.

    python benchmarks/upload_bits.py --data=DATA [--algorithms=fedavg,pf_msmtrec] [--bits=32,16,8]
        [--rounds=20] [--seeds=2] [--settings=FLAG=VALUE,...]

Trains each algorithm with each number of bits and seed. Prints a line for each, and a table of the
bytes that a client sends in an aggregation (`privacy_manifest.json`) and of the mean test AUC over
scenarios, tasks and seeds, with half the range over seeds.
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

from benchmarks import privacy_utility
from pfrec.data.dataset import dataset as dataset_lib
from tff_process import plan as plan_lib
from tff_process.training import loop


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--algorithms", default="fedavg,pf_msmtrec")
    parser.add_argument("--bits", default="32,16,8")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--settings", default="", help="FLAG=VALUE,... of all runs")
    given = parser.parse_args()
    dataset = dataset_lib.Dataset.open(given.data)
    own = [tuple(text.split("=", 1)) for text in given.settings.split(",") if text]
    rows = []
    for name in given.algorithms.split(","):
        for bits in map(int, given.bits.split(",")):
            aucs, sent = [], 0
            for seed in range(given.seeds):
                plan = plan_lib.Plan(name, rounds=given.rounds, seed=seed, upload_bits=bits)
                with tempfile.TemporaryDirectory() as folder:
                    run = pathlib.Path(folder) / "run"
                    loop.train(plan.with_texts(own), dataset, run)
                    aucs.append(privacy_utility.mean_auc(run))
                    manifest = (run / "privacy_manifest.json").read_text(encoding="utf-8")
                    sent = json.loads(manifest)["upload_bytes"]
            print(f"{name} {bits} bits: {sent:,} bytes, {aucs}", flush=True)
            rows.append((name, bits, sent, np.mean(aucs), np.ptp(aucs) / 2.0))
    print("\n| algorithm | bits | bytes | mean test AUC | ± |\n| --- | --- | --- | --- | --- |")
    for name, bits, sent, auc, half in rows:
        print(f"| `{name}` | {bits} | {sent:,} | {auc:.4f} | {half:.4f} |")


if __name__ == "__main__":
    main()
