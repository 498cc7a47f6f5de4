"""The worlds that settings of `pf_msmtrec` are chosen on, and those that they are reported on.

    python benchmarks/worlds.py --world=app_by_daytime --input=../shared/data --output=DATA
    pfrec-compare --flagfile=configs/worlds.flags --data=DATA --output=DIR
    python benchmarks/worlds.py --list
    python benchmarks/worlds.py --world=few_rows_b --draw=111 --output=DATA

`--input` holds `movielens-100k` (u.user, u.item, u1.base, u1.test) and `frappe/frappe.csv`.
`CHOOSING` and `REPORTING` were split beforehand, with real and built-in worlds in both; nothing is
chosen on the second. MovieLens gives 40,000 of its ratings, so that a run takes seconds.

`ids` are built-in rows whose users and items are met a few times each: `logit = bias + user +
item + <user's factors, item's factors> + the scenario's own opinion of the item`, ids drawn by
Zipf's law. The other built-in worlds are those of `--data=synthetic`.

`--draw` makes another world of the same kind: other built-in rows of another truth, or other
ratings of MovieLens and another split, of app use another split alone. What one world's seeds agree
on may still be chance of its rows.
"""

import argparse
import csv
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, Callable, Optional

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from benchmarks import movielens_scenarios as movielens
from pfrec.data import synthetic

RATINGS, SEED = 40_000, 7
COUNTRIES = {"United States", "Spain", "United Kingdom", "Peru", "Canada", "Mexico"}
SKIES = {"cloudy", "sunny", "unknown", "foggy", "rainy", "stormy"}
APP_FEATURES = ("user", "item", "weekday", "homework", "cost", "weather", "country", "city")

Row = dict[str, Any]
Rows = Iterator[Row]
# Of where raw data are, where the world goes, and which draw it is, None for the world itself.
Make = Callable[[pathlib.Path, pathlib.Path, Optional[int]], None]


def age_band(years: int) -> str:
    """A user's scenario by age."""
    return next(
        (name for name, limit in (("to_23", 23), ("to_30", 30), ("to_41", 41)) if years <= limit),
        "over",
    )


def two_by_age(years: int) -> str:
    """The same, in two of which `over` has a quarter of the ratings."""
    return "to_41" if years <= 41 else "over"


def decade(year: float) -> str:
    """A film's scenario by its year, given in decades after 1990."""
    return next(
        (
            name
            for name, limit in (("to_1979", -1.1), ("to_1989", -0.1), ("to_1995", 0.5))
            if year <= limit
        ),
        "later",
    )


def ratings(source: pathlib.Path, by: str, seed: int = SEED) -> Rows:
    """Ratings of MovieLens-100K with their scenario; the seed says which."""
    folder = source / "movielens-100k"
    items = movielens.films(folder / "u.item")
    with (folder / "u.user").open(encoding="latin-1", newline="") as stream:
        users = {row[0].strip(): row[1:4] for row in csv.reader(stream, delimiter="|")}
    lines = [
        row
        for part in ("u1.base", "u1.test")
        for row in csv.reader((folder / part).open(encoding="utf-8"), delimiter="\t")
    ]
    for number in sorted(np.random.default_rng(seed).permutation(len(lines))[:RATINGS]):
        user, item, rating, _ = lines[number]
        age, sex, job = users[user]
        place, flags, year = items[item]
        scenario = {
            "genre": place,
            "occupation": movielens.trade(job),
            "sex": sex,
            "age": age_band(int(age)),
            "two": two_by_age(int(age)),
            "decade": decade(year),
        }[by]
        yield {
            "scenario": scenario,
            **{
                "user_id": user,
                "item_id": item,
                "occupation": job,
                "sex": sex,
                "age": min(int(age) // 10, movielens.DECADES - 1),
            },
            **{f"genre_{number}": flag for number, flag in enumerate(flags)},
            "year": year,
            **{"like": int(int(rating) >= 4), "love": int(int(rating) == 5)},
        }


def apps(source: pathlib.Path, by: str) -> Rows:
    """Uses of apps (Frappe) with their scenario;
    rare skies and countries are left out where they make the scenarios.
    """
    kept = {"weather": SKIES, "country": COUNTRIES}.get(by)
    with (source / "frappe" / "frappe.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if kept is None or row[by] in kept:
                # `isweekend` follows from the day, and the hour is one world's scenario.
                features = {name: row[name] for name in APP_FEATURES}
                count = int(row["cnt"])
                yield {
                    "scenario": row[by].replace(" ", "_"),
                    **features,
                    "often": int(count >= 3),
                    "much": int(count >= 10),
                }


def ids(seed: int, users: int, items: int, rows: int, scenarios: int) -> Rows:
    """Built-in rows of rare ids; scenario s has `rows / (1 + s)` of them."""
    random = np.random.default_rng([SEED, seed])
    user_bias, item_bias = random.normal(0, 0.8, users), random.normal(0, 0.8, items)
    user_factors, item_factors = (
        random.normal(0, 0.6, (users, 4)),
        random.normal(0, 0.6, (items, 4)),
    )
    for scenario in range(scenarios):
        opinion, bias, count = (
            random.normal(0, 0.6, items),
            random.normal(-1.0, 0.4),
            rows // (1 + scenario),
        )
        user = np.minimum((users * random.random(count) ** 2).astype(int), users - 1)
        item = np.minimum((items * random.random(count) ** 3).astype(int), items - 1)
        logit = (
            bias
            + user_bias[user]
            + item_bias[item]
            + (user_factors[user] * item_factors[item]).sum(axis=1)
            + opinion[item]
        )
        click = random.random(count) < 1 / (1 + np.exp(-logit))
        buy = click & (
            random.random(count) < 1 / (1 + np.exp(1.0 - item_bias[item] + user_bias[user]))
        )
        for u, i, c, b in zip(user, item, click, buy):
            yield {
                "scenario": f"S{scenario + 1}",
                "user": u,
                "item": i,
                "kind": i % 40,
                "click": int(c),
                "buy": int(b),
            }


def _schema(
    columns: "dict[str, str]", numbers: "list[str]", tasks: "list[str]", group: str, test: float
) -> str:
    lines = [f'group = "{group}"', "[scenario]", 'column = "scenario"']
    for name, kind in columns.items():
        policy = "private" if name.endswith("!") else "shared"
        lines += ["[[categorical]]", f'name = "{name.rstrip("!")}"', kind, f'policy = "{policy}"']
    for name in numbers:
        lines += ["[[numerical]]", f'name = "{name}"']
    for task in tasks:
        lines += ["[[task]]", f'name = "{task}"', f'column = "{task}"']
    return "\n".join([*lines, "[split]", "valid = 0.1", f"test = {test}"]) + "\n"


def _vocabulary(rows: "list[Row]", name: str) -> str:
    words = ", ".join(f'"{word}"' for word in sorted({str(row[name]) for row in rows}))
    return f"vocabulary = [{words}]"


def _movielens(by: str) -> Make:
    def make(source: pathlib.Path, output: pathlib.Path, draw: Optional[int]) -> None:
        rows = list(ratings(source, by, SEED if draw is None else draw))
        # What only one scenario has is private; users of `genre` and `decade`, and films of the
        # others, are common.
        user, item = (
            ("user_id", "item_id!") if by in ("genre", "decade") else ("user_id!", "item_id")
        )
        columns = {
            user: f"cardinality = {movielens.USERS}",
            item: f"cardinality = {movielens.ITEMS}",
            "occupation": _vocabulary(rows, "occupation"),
            "sex": 'vocabulary = ["F", "M"]',
            "age": f"cardinality = {movielens.DECADES}",
        }
        numbers = [f"genre_{number}" for number in range(len(movielens.GENRES))]
        schema = _schema(columns, [*numbers, "year"], ["like", "love"], "user_id", 0.3)
        _convert(rows, schema, output, draw)

    return make


def _apps(by: str) -> Make:
    def make(source: pathlib.Path, output: pathlib.Path, draw: Optional[int]) -> None:
        rows = list(apps(source, by))
        columns = {name: _vocabulary(rows, name) for name in APP_FEATURES}
        _convert(rows, _schema(columns, [], ["often", "much"], "user", 0.3), output, draw)

    return make


def _ids(seed: int, **shape: int) -> Make:
    def make(source: pathlib.Path, output: pathlib.Path, draw: Optional[int]) -> None:
        del source
        columns = {
            "user": f"cardinality = {shape['users']}",
            "item": f"cardinality = {shape['items']}",
            "kind": "cardinality = 40",
        }
        rows = list(ids(seed if draw is None else draw, **shape))
        _convert(rows, _schema(columns, [], ["click", "buy"], "user", 0.4), output, None)

    return make


def _synthetic(seed: int, rows: int, shared: float, scenarios: int = 4) -> Make:
    def make(source: pathlib.Path, output: pathlib.Path, draw: Optional[int]) -> None:
        del source
        drawn = seed if draw is None else draw
        synthetic.generate(output, scenarios=scenarios, rows=rows, seed=drawn, shared=shared)

    return make


def _convert(
    rows: "list[Row]", schema: str, output: pathlib.Path, split_seed: Optional[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        raw = pathlib.Path(folder)
        (raw / "rows").mkdir()
        with (raw / "rows" / "rows.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        (raw / "schema.toml").write_text(schema, encoding="utf-8")
        command = [
            "--format=csv",
            f"--input={raw / 'rows'}",
            f"--schema={raw / 'schema.toml'}",
            f"--output={output}",
            f"--split_seed={split_seed or 0}",
        ]
        subprocess.run([sys.executable, "-m", "pfrec.commands.convert", *command], check=True)


CHOOSING = {
    "movielens_by_age": _movielens("age"),
    "movielens_by_decade": _movielens("decade"),
    "app_by_daytime": _apps("daytime"),
    "app_by_weather": _apps("weather"),
    "few_rows": _synthetic(101, 1_500, 0.5),
    "half_common": _synthetic(102, 10_000, 0.5),
    "twenty_scenarios": _synthetic(103, 3_000, 0.5, 20),
    "rare_ids": _ids(104, users=20_000, items=5_000, rows=12_000, scenarios=5),
    # Added later: no other has little, or nearly all, in common, and reporting ones do.
    "tenth_common": _synthetic(105, 10_000, 0.1),
    "nine_tenths_common": _synthetic(106, 10_000, 0.9),
    # Later again: no other has two scenarios of one catalogue, as `movielens_by_sex`.
    "movielens_by_two_ages": _movielens("two"),
    "app_by_cost": _apps("cost"),
    "two_scenarios": _synthetic(107, 10_000, 0.9, 2),
}
REPORTING = {
    "movielens_by_genre": _movielens("genre"),
    "movielens_by_occupation": _movielens("occupation"),
    "movielens_by_sex": _movielens("sex"),
    "app_by_weekday": _apps("weekday"),
    "app_by_country": _apps("country"),
    "few_rows_b": _synthetic(201, 3_000, 0.5),
    "nothing_common": _synthetic(202, 10_000, 0.0),
    "copies": _synthetic(203, 10_000, 1.0),
    "fifth_common": _synthetic(204, 20_000, 0.2),
    "twenty_scenarios_b": _synthetic(205, 4_000, 0.7, 20),
    "rare_ids_b": _ids(206, users=100_000, items=20_000, rows=20_000, scenarios=4),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="name the worlds and end")
    parser.add_argument("--world", choices=sorted({**CHOOSING, **REPORTING}))
    parser.add_argument("--input", type=pathlib.Path, default=pathlib.Path("../shared/data"))
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--draw", type=int, help="another world of the kind, by its number")
    arguments = parser.parse_args()
    if arguments.list:
        for half, worlds in (("choosing", CHOOSING), ("reporting", REPORTING)):
            print(f"{half}: {' '.join(worlds)}")
        return
    if not arguments.world or not arguments.output:
        parser.error("give --world and --output, or --list")
    {**CHOOSING, **REPORTING}[arguments.world](arguments.input, arguments.output, arguments.draw)


if __name__ == "__main__":
    main()
