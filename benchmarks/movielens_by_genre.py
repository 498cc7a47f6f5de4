"""MovieLens 100K with the scenarios on the side of the items: four shelves of films, which the same users visit.

    python benchmarks/movielens_by_genre.py --input=ml-100k --output=DIR
    pfrec-convert --format=csv --input=DIR/ratings --schema=DIR/schema.toml --output=DATA

The opposite of the age bands of `--format=movielens`: there every user is in one scenario and the films are common to all, here every film is.
So films are private, as each shelf has its own, and users are shared. A film goes to the first shelf that one of its genres names.
Tasks and features are those of the age bands.
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--input", type=pathlib.Path, required=True, help="directory of u.user, u.item and u.data, or u1.base and u1.test"
    )
    parser.add_argument("--output", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    items = films(arguments.input / "u.item")
    with (arguments.input / "u.user").open(encoding="latin-1", newline="") as stream:
        users = {row[0].strip(): row[1:4] for row in csv.reader(stream, delimiter="|")}
    jobs = sorted({job for _, _, job in users.values()})
    whole = arguments.input / "u.data"
    parts = [whole] if whole.exists() else [arguments.input / "u1.base", arguments.input / "u1.test"]
    (arguments.output / "ratings").mkdir(parents=True)
    with (arguments.output / "ratings" / "ratings.csv").open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        numbers = [f"genre_{number}" for number in range(len(GENRES))]
        writer.writerow(["shelf", "user_id", "item_id", "occupation", "sex", "age", *numbers, "year", "like", "love"])
        for part in parts:
            with part.open(encoding="utf-8", newline="") as stream:
                for user, item, rating, _ in csv.reader(stream, delimiter="\t"):
                    age, sex, job = users[user]
                    place, flags, year = items[item]
                    labels = [int(int(rating) >= 4), int(int(rating) == 5)]
                    # Bands of ten years, as the two ends hold few users.
                    writer.writerow([place, user, item, job, sex, min(int(age) // 10, DECADES - 1), *flags, year, *labels])
    lines = ['group = "user_id"', "[scenario]", 'column = "shelf"']
    for name, kind, policy in (
        ("user_id", f"cardinality = {USERS}", "shared"),
        ("item_id", f"cardinality = {ITEMS}", "private"),
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
