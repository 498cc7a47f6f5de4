"""MovieLens 100K as a log with its times: splits by time, and the films that a user rated before.

    python benchmarks/movielens_log.py --input=ml-100k --output=DIR
    pfrec-convert --format=csv --input=DIR/log --schema=DIR/time_attention.toml --output=DATA

Scenarios, tasks and features are those of `--format=movielens`: four age bands of users, `like` (4
or 5) and `love` (5). There are six schemas: `random` splits rows 80 : 10 : 10 by hash, `time` by
their timestamp, so that training has the first 80% of time; `_mean` and `_attention` add the last
20 films that the user rated before, whatever the rating, over the table of films.
"""

import argparse
import csv
import pathlib

from pfrec.data.converters import movielens

VALUES = 20


def write_log(source: pathlib.Path, target: pathlib.Path) -> None:
    """Writes ratings joined with users and films as one CSV file.

    Args:
      source: directory of u.user, u.item and u.data, or u1.base and u1.test.
      target: the file.
    """
    with (source / "u.user").open(encoding="latin-1", newline="") as stream:
        users = {row[0].strip(): row[1:4] for row in csv.reader(stream, delimiter="|")}
    films = {}
    with (source / "u.item").open(encoding="latin-1", newline="") as stream:
        for row in csv.reader(stream, delimiter="|", quoting=csv.QUOTE_NONE):
            films[row[0]] = [*row[5:24], (int(row[2][-4:]) - 1900) / 100 if row[2] else 0]
    whole = source / "u.data"
    parts = [whole] if whole.exists() else [source / "u1.base", source / "u1.test"]
    genres = [f"genre_{genre}" for genre in movielens.GENRES]
    known = ["scenario", "user_id", "item_id", "occupation", "sex", "age_bucket", "age"]
    target.parent.mkdir(parents=True)
    with target.open("w", encoding="utf-8", newline="") as written:
        writer = csv.writer(written, lineterminator="\n")
        writer.writerow([*known, *genres, "release_year", "like", "love", "timestamp"])
        for part in parts:
            with part.open(encoding="utf-8", newline="") as stream:
                for user, item, rating, timestamp in csv.reader(stream, delimiter="\t"):
                    age, sex, occupation = users[user]
                    years = int(age)
                    band = sum(years >= first for first in (24, 31, 42))
                    bucket = min(years // 5, movielens.AGE_BUCKETS - 1)
                    row = [movielens.SCENARIOS[band], user, item, occupation, sex, bucket]
                    labels = [int(int(rating) >= 4), int(int(rating) == 5)]
                    writer.writerow([*row, years / 100, *films[item], *labels, timestamp])


def schema(source: pathlib.Path, split: str, pooling: str) -> str:
    """The TOML schema of a split (`random` or `time`) and a pooling (empty for no list)."""
    with (source / "u.user").open(encoding="latin-1", newline="") as stream:
        jobs = sorted({row[3] for row in csv.reader(stream, delimiter="|")})
    quoted = ", ".join(f'"{job}"' for job in jobs)
    lines = ['group = "user_id"', "[scenario]", 'column = "scenario"']
    for name, kind, policy in (
        ("user_id", "cardinality = 944", "private"),
        ("item_id", "cardinality = 1683", "shared"),
        ("occupation", f"vocabulary = [{quoted}]", "shared"),
        ("sex", 'vocabulary = ["F", "M"]', "shared"),
        ("age_bucket", f"cardinality = {movielens.AGE_BUCKETS}", "shared"),
    ):
        lines += ["[[categorical]]", f'name = "{name}"', kind, f'policy = "{policy}"']
    if pooling:
        lines += ["[[categorical]]", 'name = "rated"', 'table = "item_id"', f"values = {VALUES}"]
        lines += [f'pooling = "{pooling}"', 'history = {user = "user_id", time = "timestamp"}']
    for genre in movielens.GENRES:
        lines += ["[[numerical]]", f'name = "genre_{genre}"']
    for name in ("release_year", "age"):
        lines += ["[[numerical]]", f'name = "{name}"']
    for task in ("like", "love"):
        lines += ["[[task]]", f'name = "{task}"']
    lines += ["[split]", "valid = 0.1", "test = 0.1"]
    return "\n".join([*lines, *(['time = "timestamp"'] if split == "time" else [])]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", type=pathlib.Path, required=True, help="the 100K folder")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    write_log(arguments.input, arguments.output / "log" / "log.csv")
    for split in ("random", "time"):
        for pooling in ("", "mean", "attention"):
            path = arguments.output / f"{split}{pooling and '_' + pooling}.toml"
            path.write_text(schema(arguments.input, split, pooling), encoding="utf-8")


if __name__ == "__main__":
    main()
