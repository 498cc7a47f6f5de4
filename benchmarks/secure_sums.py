"""What `--secure_sums` costs: AUC, bytes of an upload, and the time that masks take.

    python benchmarks/secure_sums.py --data=DATA [--algorithms=fedavg,fedbn] [--rounds=20]
        [--seeds=2] [--settings=FLAG=VALUE,...]
    python benchmarks/secure_sums.py --masks=1000000 [--silos=2,4,20,200]

The first trains each algorithm with each seed without sums, without sums but without counts of ids
as well (which sums do without), and with sums; it prints the bytes that a client sends in an
aggregation (`privacy_manifest.json`) and the mean test AUC over scenarios, tasks and seeds, with
half the range over seeds, and by how much the values that both end with differ at most. The second
masks a vector of so many numbers at one of some silos, and prints the processor time, the median of
five.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np

from tff_process.sums import masks


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--algorithms", default="fedavg,fedbn")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--settings", default="", help="FLAG=VALUE,... of all runs")
    parser.add_argument("--masks", type=int, default=0, help="numbers of the vector to mask")
    parser.add_argument("--silos", default="2,4,20,200")
    given = parser.parse_args()
    if given.masks:
        mask(given.masks, [int(count) for count in given.silos.split(",")])
    if given.data:
        train(given)


def mask(numbers: int, silos: "list[int]") -> None:
    """Prints how long a mask takes, and a silo's pairs of keys."""
    vector = np.zeros(numbers, np.int64)
    print("| silos | keys, ms | mask, ms |\n| --- | --- | --- |")
    for count in silos:
        secrets = {f"silo {i}": i.to_bytes(16, "big") for i in range(count)}
        keys = {name: masks.public_key(secret) for name, secret in secrets.items()}
        started = time.process_time()
        own = masks.Masks(secrets["silo 0"], "silo 0", keys)
        agreed, times = time.process_time() - started, []
        for number in range(5):
            started = time.process_time()
            own.masked(masks.context(str(number).encode()), vector)
            times.append(time.process_time() - started)
        print(f"| {count} | {1e3 * agreed:.1f} | {1e3 * np.median(times):.1f} |", flush=True)


def train(given: argparse.Namespace) -> None:
    """Prints what sums change of runs."""
    from benchmarks import privacy_utility
    from pfrec import checkpoint
    from pfrec.data.dataset import dataset as dataset_lib
    from tff_process import plan as plan_lib
    from tff_process.training import loop

    dataset = dataset_lib.Dataset.open(given.data)
    own = [tuple(text.split("=", 1)) for text in given.settings.split(",") if text]
    hidden = {"loss": ("loss", "row_counts")}
    forms = {
        "plain": {},
        "plain, no counts": {"withhold": hidden["loss"]},
        "sums": {"secure_sums": True},
    }
    rows = []
    for name in given.algorithms.split(","):
        found: dict[str, list[float]] = {}
        sent, apart = {}, 0.0
        for seed in range(given.seeds):
            values = {}
            for form, settings in forms.items():
                plan = plan_lib.Plan(name, rounds=given.rounds, seed=seed, **settings)
                with tempfile.TemporaryDirectory() as folder:
                    run = pathlib.Path(folder) / "run"
                    loop.train(plan.with_texts(own), dataset, run)
                    found.setdefault(form, []).append(privacy_utility.mean_auc(run))
                    manifest = (run / "privacy_manifest.json").read_text(encoding="utf-8")
                    sent[form] = json.loads(manifest)["upload_bytes"]
                    last = max((run / "server").glob("round_*"))
                    values[form] = checkpoint.load(last)[0]
                print(f"{name} {form}, seed {seed}: {found[form][-1]:.5f}", flush=True)
            for key, value in values["sums"].items():
                if key.startswith("common/") and value.size:
                    other = values["plain, no counts"][key]
                    apart = max(apart, float(np.max(np.abs(value - other))))
        for form, aucs in found.items():
            between = f"{apart:.1e}" if form == "sums" else ""
            half = np.ptp(aucs) / 2.0
            rows.append((name, form, sent[form], np.mean(aucs), half, between))
    print(
        "\n| algorithm | | bytes | mean test AUC | ± | values differ by |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    for name, form, size, auc, half, between in rows:
        print(f"| `{name}` | {form} | {size:,} | {auc:.4f} | {half:.4f} | {between} |")


if __name__ == "__main__":
    main()
