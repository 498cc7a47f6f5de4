"""MovieLens 100K and 1M: ratings of films, as four scenarios by the user's age and two tasks.

Scenario: `age_0_23`, `age_24_30`, `age_31_41`, `age_42_up`. Task `like` is a rating of 4 or 5,
`love` one of 5: love implies like. All ratings are read (`u.data`, or `u1.base` and `u1.test`,
which together are the same), put in order of user and item, and split 70 : 10 : 20 by the hash of
their place in that order: both layouts give the same dataset. 1M (`ratings.dat`, `users.dat`,
`movies.dat`) gives the same columns; its ages are the lowest of a band, its occupations numbers.
Source of the data: Harper and Konstan, "The MovieLens Datasets", ACM TiiS 2015; its licence forbids
passing it on.
"""

import functools
import pathlib
import re
from collections.abc import Iterator
from typing import Any, Optional

import numpy as np

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.reading import source

FRACTIONS = (0.7, 0.1, 0.2)
SCENARIOS = ("age_0_23", "age_24_30", "age_31_41", "age_42_up")
AGE_BUCKETS = 20  # of five years; the last is 95 and over
GENRES = (
    *(
        "unknown",
        "action",
        "adventure",
        "animation",
        "childrens",
        "comedy",
        "crime",
        "documentary",
        "drama",
        "fantasy",
    ),
    *(
        "film_noir",
        "horror",
        "musical",
        "mystery",
        "romance",
        "sci_fi",
        "thriller",
        "war",
        "western",
    ),
)

_FIRST_AGES = (24, 31, 42)  # of the second, third and fourth scenario
_SEXES = ("F", "M")
_REMEDY = (
    "--input is the MovieLens 100K folder, with u.data (or u1.base and u1.test), u.user "
    "and u.item, "
    "or that of 1M, with ratings.dat, users.dat and movies.dat"
)
MAX_ID = 10_000_000  # ids are places in arrays


def schema(users: int, items: int, occupations: "tuple[str, ...]") -> schema_lib.Schema:
    """The schema; ids are those of the files, which count from 1,
    hence `users` and `items` are the largest ids.
    """
    return schema_lib.Schema(
        categorical=(
            schema_lib.Categorical("user_id", users + 1, policy="private"),
            schema_lib.Categorical("item_id", items + 1, policy="shared"),
            schema_lib.Categorical(
                "occupation", len(occupations), "shared", "vocabulary", occupations
            ),
            schema_lib.Categorical("sex", len(_SEXES), "shared", "vocabulary", _SEXES),
            schema_lib.Categorical("age_bucket", AGE_BUCKETS, policy="shared"),
        ),
        numerical=tuple(
            schema_lib.Numerical(name) for name in (*_genre_columns(), "release_year", "age")
        ),
        tasks=(schema_lib.Task("like", "like"), schema_lib.Task("love", "love")),
        group="user_id",
    )


def open_source(path: pathlib.Path, settings: source.Settings = source.Settings()) -> source.Source:
    """Reads the users, items and ratings.

    Raises:
      PfrecError: where a file is missing or a line is malformed.
    """
    settings.refuse("movielens", "schema", "sample_users", "tasks", "min_count")
    source.require_directory(path, _REMEDY)
    if (path / "ratings.dat").is_file():
        files = [path / name for name in ("ratings.dat", "users.dat", "movies.dat")]
        source.require_files(files, _REMEDY)
        users = _users_1m(files[1])
        items, undated = _items_1m(files[2])
        ratings = _ratings(files[0], "::", len(users["age"]) - 1, len(items) - 1)
        for user, item in ratings[
            (users["age"][ratings[:, 0]] < 0) | np.isnan(items[ratings[:, 1], 0]), :2
        ]:
            raise errors.PfrecError(
                f"{files[0]}: user {user} or item {item} stands in no other file; mend the rating "
                "or add a line"
            )
        occupations = tuple(
            sorted({str(o) for o in users["occupation"][1:] if o}, key=lambda o: (len(o), o))
        )
    else:
        rating_files = (
            [path / "u.data"]
            if (path / "u.data").is_file()
            else [path / "u1.base", path / "u1.test"]
        )
        files = [*rating_files, path / "u.user", path / "u.item"]
        source.require_files(files, _REMEDY)
        users = _users(path / "u.user")
        items, undated = _items(path / "u.item")
        ratings = np.concatenate(
            [_ratings(file, "\t", len(users["age"]) - 1, len(items) - 1) for file in rating_files]
        )
        occupations = tuple(sorted(set(users["occupation"][1:])))
    ratings = ratings[np.lexsort((ratings[:, 1], ratings[:, 0]))]
    found = schema(len(users["age"]) - 1, len(items) - 1, occupations)
    note = f"release_year: {undated} films without a release date get 0; others (year - 1900) / 100"
    chunks = functools.partial(_chunks, path, ratings, users, items)
    return source.Source(
        found, FRACTIONS, chunks, SCENARIOS, (note,) if undated else (), tuple(files)
    )


def _genre_columns() -> list[str]:
    return [f"genre_{genre}" for genre in GENRES]


def _fields(file: pathlib.Path, separator: str, count: int) -> Iterator[tuple[str, list[str]]]:
    """The place (file and line) and the fields of each line."""
    try:
        text = file.read_text(encoding="latin-1")
    except OSError as error:
        raise errors.PfrecError(
            f"{file}: cannot be read ({error.strerror}); check --input"
        ) from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line:
            fields = line.rstrip("\r").split(separator)
            place = f"{file}: line {number}"
            if len(fields) != count:
                raise errors.PfrecError(
                    f"{place}: {len(fields)} fields where {count} belong; mend the line"
                )
            yield place, fields


def _integer(text: str, place: str, what: str, lowest: int, highest: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise errors.PfrecError(
            f"{place}: {what} {text!r} is not a whole number; mend the line"
        ) from None
    if not lowest <= value <= highest:
        raise errors.PfrecError(
            f"{place}: {what} {value} is not one of {lowest} to {highest}; mend the line"
        )
    return value


def _users(file: pathlib.Path) -> dict[str, np.ndarray]:
    """Age, sex and occupation by user id [users + 1]; ids count from 1 without gaps."""
    table: list[tuple[int, str, str]] = [(0, "", "")]
    for place, (user, age, sex, occupation, _) in _fields(file, "|", 5):
        _integer(user, place, "user id", len(table), len(table))
        table.append((_integer(age, place, "age", 0, 150), sex, occupation))
    ages, sexes, occupations = zip(*table)
    return {
        "age": np.array(ages),
        "sex": np.array(sexes, object),
        "occupation": np.array(occupations, object),
    }


def _items(file: pathlib.Path) -> tuple[np.ndarray, int]:
    """Genre flags and scaled release year by item id, float64 [items + 1, 20];
    and how many items have no date.
    """
    table = [[0.0] * (len(GENRES) + 1)]
    undated = 0
    for place, fields in _fields(file, "|", 5 + len(GENRES)):
        _integer(fields[0], place, "item id", len(table), len(table))
        year = 0.0
        if fields[2]:
            year = (
                _integer(fields[2].rsplit("-", 1)[-1], place, "release year", 1850, 2100) - 1900
            ) / 100
        else:
            undated += 1
        table.append(
            [*(float(_integer(flag, place, "genre flag", 0, 1)) for flag in fields[5:]), year]
        )
    return np.array(table), undated


def _users_1m(file: pathlib.Path) -> dict[str, np.ndarray]:
    """As `_users`, of MovieLens 1M: `user::sex::age::occupation::postcode`; age is the lowest of a
    band. Age -1 where an id is free.
    """
    table: dict[int, tuple[int, str, str]] = {}
    for place, (user, sex, age, occupation, _) in _fields(file, "::", 5):
        number = _integer(user, place, "user id", 1, MAX_ID)
        if number in table:
            raise errors.PfrecError(
                f"{place}: user {number} stands in an earlier line too; remove one"
            )
        table[number] = (_integer(age, place, "age", 0, 150), sex, occupation)
    ages, sexes, occupations = zip(
        *(table.get(number, (-1, "", "")) for number in range(max(table, default=0) + 1))
    )
    return {
        "age": np.array(ages),
        "sex": np.array(sexes, object),
        "occupation": np.array(occupations, object),
    }


def _items_1m(file: pathlib.Path) -> tuple[np.ndarray, int]:
    """As `_items`, of MovieLens 1M: `item::title (year)::genre|genre`; NaN where an id is free."""
    table: dict[int, list[float]] = {}
    undated = 0
    for place, (item, title, genres) in _fields(file, "::", 3):
        number = _integer(item, place, "item id", 1, MAX_ID)
        if number in table:
            raise errors.PfrecError(
                f"{place}: item {number} stands in an earlier line too; remove one"
            )
        flags = [0.0] * len(GENRES)
        for genre in genres.split("|"):
            name = genre.lower().replace("-", "_").replace("'", "")
            if name not in GENRES[1:]:
                raise errors.PfrecError(f"{place}: genre {genre!r} is not known; mend the line")
            flags[GENRES.index(name)] = 1.0
        dated = re.search(r"\((\d{4})\)$", title)
        undated += dated is None
        year = (
            0.0
            if dated is None
            else (_integer(dated[1], place, "release year", 1850, 2100) - 1900) / 100
        )
        table[number] = [*flags, year]
    return np.array(
        [table.get(n, [np.nan] * (len(GENRES) + 1)) for n in range(max(table, default=0) + 1)]
    ), undated


def _ratings(file: pathlib.Path, separator: str, users: int, items: int) -> np.ndarray:
    """User, item and rating of each line, int64 [ratings, 3]."""
    table = [
        (
            _integer(user, place, "user id", 1, users),
            _integer(item, place, "item id", 1, items),
            _integer(rating, place, "rating", 1, 5),
        )
        for place, (user, item, rating, _) in _fields(file, separator, 4)
    ]
    return np.array(table, np.int64).reshape(-1, 3)


def _chunks(
    path: pathlib.Path,
    ratings: np.ndarray,
    users: "dict[str, np.ndarray]",
    items: np.ndarray,
    resume: Optional[Any],
) -> Iterator[source.Chunk]:
    """One chunk per scenario."""
    del resume  # all is in memory: nothing is resumed
    band = np.searchsorted(_FIRST_AGES, users["age"][ratings[:, 0]], side="right")
    for i, scenario in enumerate(SCENARIOS):
        rows = np.flatnonzero(band == i)
        user, item, rating = ratings[rows].T
        age = users["age"][user]
        columns: dict[str, Any] = {
            "user_id": user,
            "item_id": item,
            "like": rating >= 4,
            "love": rating == 5,
        }
        columns.update(occupation=users["occupation"][user], sex=users["sex"][user])
        columns.update(age_bucket=np.minimum(age // 5, AGE_BUCKETS - 1), age=age / 100)
        columns.update(zip((*_genre_columns(), "release_year"), items[item].T))
        yield scenario, None, source.RawChunk(path, rows, columns)
