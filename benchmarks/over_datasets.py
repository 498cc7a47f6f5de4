"""What several comparisons say together: the mean of each algorithm over data sets,
and by how much one stands before the others.

    python benchmarks/over_datasets.py docs/results/*/results.json [--subject=pf_msmtrec]
    python benchmarks/over_datasets.py docs/results/*/results.json --beside=others
    python benchmarks/over_datasets.py --entries docs/results/ablation/*.json

Of each algorithm the entry that speaks for it counts, in each comparison; with `--entries` every
entry by itself, as in an ablation. With `--beside` the comparison in the folder of that name beside
each counts with it, and only seeds that both have do, the first ones. Prints two Markdown tables;
what a comparison lacks is left out.

The first has each algorithm's mean over the data sets and by how much the subject stands before it,
with 95% intervals of two kinds. "By seed": the means over these data sets, paired by seed, which
says what other seeds would give on the same data. "By data set": the means over seeds, paired by
data set, which says what other data of the kind would give; of one seed or one data set there is no
interval. Then on how many data sets the subject is ahead and behind by an interval, by seed, that
excludes zero. The second table has every data set.
"""

import argparse
import json
import math
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
    parser.add_argument("--beside", default="", help="a folder beside each comparison")
    arguments = parser.parse_args()
    tables = [table_of(path, arguments.entries, arguments.beside) for path in arguments.results]
    common = set(tables[0]).intersection(*tables[1:])
    titles = [path.stem if arguments.entries else path.parent.name for path in arguments.results]
    print("\n".join(overall(tables, sorted(common), arguments.subject)))
    print()
    print("\n".join(by_data_set(dict(zip(titles, tables)), common)))


def overall(
    tables: "list[dict[str, list[float]]]", names: "list[str]", subject: str
) -> "list[str]":
    """The lines of the first table.

    Args:
      tables: of each data set, test AUC by seed of each algorithm.
      names: the algorithms that are in all of them.
      subject: whose differences stand there.
    """
    rows = {}
    for name in names:
        mean = statistics.mean(statistics.mean(table[name]) for table in tables)
        cells = ["-"] * 4
        if name != subject:
            gaps = [
                [own - other for own, other in zip(table[subject], table[name])] for table in tables
            ]
            found = [intervals.interval(gap) for gap in gaps]
            cells = [
                _text(intervals.interval([statistics.mean(column) for column in zip(*gaps)])),
                _text(intervals.interval([one.mean for one in found])),
                str(sum(one.excludes_zero and one.mean > 0 for one in found)),
                str(sum(one.excludes_zero and one.mean < 0 for one in found)),
            ]
        rows[name] = (mean, f"| {name} | {mean:.4f} | {' | '.join(cells)} |")
    return [
        f"| algorithm | mean | {subject} minus it, by seed | by data set | ahead on | behind on |",
        "| --- " * 6 + "|",
        *(line for _, line in sorted(rows.values(), reverse=True)),
    ]


def by_data_set(tables: "dict[str, dict[str, list[float]]]", names: "set[str]") -> "list[str]":
    """The lines of the second table, of data sets by name; algorithms by falling mean."""
    ordered = sorted(
        names,
        key=lambda name: (
            -statistics.mean(statistics.mean(table[name]) for table in tables.values())
        ),
    )
    return [
        f"| data set | {' | '.join(ordered)} |",
        "| --- " * (1 + len(ordered)) + "|",
        *(
            f"| {title} | {' | '.join(f'{statistics.mean(table[name]):.4f}' for name in ordered)} |"
            for title, table in tables.items()
        ),
    ]


def _text(found: intervals.Interval) -> str:
    width = "" if math.isnan(found.half_width) else f" ± {found.half_width:.4f}"
    return f"{found.mean:+.4f}{width}"


def table_of(path: pathlib.Path, entries: bool, beside: str) -> "dict[str, list[float]]":
    """`by_name` of a comparison, and of the one in the folder `beside` it, if that has a name, over
    the seeds that all of their algorithms have.
    """
    paths = [path, path.parent / beside / path.name] if beside else [path]
    table: dict[str, list[float]] = {}
    for one in paths:
        table.update(by_name(json.loads(one.read_text(encoding="utf-8")), entries))
    seeds = min(map(len, table.values()))
    return {name: found[:seeds] for name, found in table.items()}


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
