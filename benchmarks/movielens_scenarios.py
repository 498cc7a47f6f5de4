"""MovieLens 100K cut into other scenarios than the age bands of `--format=movielens`.

    python benchmarks/movielens_scenarios.py --by=genre --input=ml-100k --output=DIR
    pfrec-convert --format=csv --input=DIR/ratings --schema=DIR/schema.toml --output=DATA

`--by=genre` has the scenarios on the side of the items: four shelves of films, which the same users
visit. There every user is in all scenarios and every film in one, so films are private and users
shared. A film goes to the first shelf that one of its genres names. `--by=occupation` has, like the
age bands, every user in one of six scenarios, by occupation, and the films common to all. Tasks and
features are those of the age bands.
"""

import argparse
import csv
import pathlib

SHELVES = {
    "action": {"Action", "Adventure", "Sci-Fi", "War", "Western"},
    "comedy": {"Comedy", "Animation", "Children's", "Musical"},
    "thriller": {"Thriller", "Crime", "Mystery", "Horror", "Film-Noir", "Fantasy"},
}
REST = "drama"
TRADES = {
    "student": {"student"},
    "tech": {"programmer", "engineer", "technician", "scientist"},
    "teach": {"educator", "librarian"},
    "arts": {"writer", "artist", "entertainment"},
    "office": {"administrator", "executive", "marketing", "salesman", "lawyer"},
}
OTHER_TRADES = "other"
GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
USERS, ITEMS, DECADES = 944, 1683, 10


def shelf(genres: "set[str]") -> str:
    """Where a film with these genres stands."""
    return next((name for name, own in SHELVES.items() if own & genres), REST)


def trade(occupation: str) -> str:
    """The scenario of a user with this occupation."""
    return next((name for name, own in TRADES.items() if occupation in own), OTHER_TRADES)


def films(path: pathlib.Path) -> "dict[str, tuple[str, list[float], float]]":
    """By id: the shelf, the genre flags, and the year of release in decades after 1990."""
    found = {}
    with path.open(encoding="latin-1", newline="") as stream:
        for row in csv.reader(stream, delimiter="|", quoting=csv.QUOTE_NONE):
            flags = [float(text) for text in row[5:24]]
            year = int(row[2][-4:]) if row[2] else 1990
            genres = {name for name, flag in zip(GENRES, flags) if flag}
            found[row[0]] = shelf(genres), flags, (year - 1990) / 10
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--input",
        type=pathlib.Path,
        required=True,
        help="directory of u.user, u.item and u.data, or u1.base and u1.test",
    )
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument(
        "--by", choices=["genre", "occupation"], required=True, help="what makes the scenarios"
    )
    arguments = parser.parse_args()
    items = films(arguments.input / "u.item")
    with (arguments.input / "u.user").open(encoding="latin-1", newline="") as stream:
        users = {row[0].strip(): row[1:4] for row in csv.reader(stream, delimiter="|")}
    by_genre = arguments.by == "genre"
    jobs = sorted({job for _, _, job in users.values()})
    whole = arguments.input / "u.data"
    parts = (
        [whole] if whole.exists() else [arguments.input / "u1.base", arguments.input / "u1.test"]
    )
    (arguments.output / "ratings").mkdir(parents=True)
    with (arguments.output / "ratings" / "ratings.csv").open(
        "w", encoding="utf-8", newline=""
    ) as target:
        writer = csv.writer(target)
        numbers = [f"genre_{number}" for number in range(len(GENRES))]
        writer.writerow(
            [
                "scenario",
                "user_id",
                "item_id",
                "occupation",
                "sex",
                "age",
                *numbers,
                "year",
                "like",
                "love",
            ]
        )
        for part in parts:
            with part.open(encoding="utf-8", newline="") as stream:
                for user, item, rating, _ in csv.reader(stream, delimiter="\t"):
                    age, sex, job = users[user]
                    place, flags, year = items[item]
                    labels = [int(int(rating) >= 4), int(int(rating) == 5)]
                    # Bands of ten years, as the two ends hold few users.
                    scenario = place if by_genre else trade(job)
                    writer.writerow(
                        [
                            scenario,
                            user,
                            item,
                            job,
                            sex,
                            min(int(age) // 10, DECADES - 1),
                            *flags,
                            year,
                            *labels,
                        ]
                    )
    lines = ['group = "user_id"', "[scenario]", 'column = "scenario"']
    users_are, films_are = ("shared", "private") if by_genre else ("private", "shared")
    for name, kind, policy in (
        ("user_id", f"cardinality = {USERS}", users_are),
        ("item_id", f"cardinality = {ITEMS}", films_are),
        ("occupation", f"vocabulary = {jobs}".replace("'", '"'), "shared"),
        ("sex", 'vocabulary = ["F", "M"]', "shared"),
        ("age", f"cardinality = {DECADES}", "shared"),
    ):
        lines += ["[[categorical]]", f'name = "{name}"', kind, f'policy = "{policy}"']
    for name in [*numbers, "year"]:
        lines += ["[[numerical]]", f'name = "{name}"']
    for task in ("like", "love"):
        lines += ["[[task]]", f'name = "{task}"', f'column = "{task}"']
    lines += ["[split]", "valid = 0.1", "test = 0.2"]
    (arguments.output / "schema.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
