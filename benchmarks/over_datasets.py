"""What several comparisons say together: the mean of each algorithm over data sets,
and by how much one stands before the others.

    python benchmarks/over_datasets.py docs/results/*/results.json [--subject=pf_msmtrec]
    python benchmarks/over_datasets.py --entries docs/results/ablation/*.json

Of each algorithm the entry that speaks for it counts, in each comparison; with `--entries` every
entry by itself, as in an ablation. Differences are of means over the data sets, paired by seed,
with 95% intervals. Prints a Markdown table; what a comparison lacks is left out.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tff_process.comparison import intervals


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=pathlib.Path)
    parser.add_argument("--subject", default="pf_msmtrec")
    parser.add_argument("--entries", action="store_true")
    arguments = parser.parse_args()
    tables = [
        by_name(json.loads(path.read_text(encoding="utf-8")), arguments.entries)
        for path in arguments.results
    ]
    common = set(tables[0]).intersection(*tables[1:])
    # By seed, the mean over data sets.
    means = {
        name: [statistics.mean(values) for values in zip(*(table[name] for table in tables))]
        for name in common
    }
    titles = [path.stem if arguments.entries else path.parent.name for path in arguments.results]
    print(f"| algorithm | {' | '.join(titles)} | mean | {arguments.subject} minus it |")
    print("| --- " * (len(tables) + 3) + "|")
    for name in sorted(common, key=lambda name: -statistics.mean(means[name])):
        cells = [f"{statistics.mean(table[name]):.4f}" for table in tables]
        gap = "-"
        if name != arguments.subject:
            found = intervals.interval(
                [own - other for own, other in zip(means[arguments.subject], means[name])]
            )
            gap = f"{found.mean:+.4f} ± {found.half_width:.4f}"
        print(f"| {name} | {' | '.join(cells)} | {statistics.mean(means[name]):.4f} | {gap} |")


def by_name(result: "dict[str, Any]", entries: bool) -> "dict[str, list[float]]":
    """The mean test AUC by seed of each algorithm, or of each entry, whatever rate it chose."""
    return {
        re.sub(":learning_rate=[^:]*", "", name) if entries else entry["algorithm"]: entry[
            "test_auc"
        ]["by_seed"]
        for name, entry in result["entries"].items()
        if entries or entry["speaks_for_its_algorithm"]
    }


if __name__ == "__main__":
    main()
