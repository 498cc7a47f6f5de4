"""The features of a TOML schema: its [[categorical]] and [[numerical]] tables."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.conversion import history
from pfrec.data.conversion.toml import typed

MAX_CARDINALITY = 2**31 - 2  # ids and the unknown id are int32
MAX_VALUES = 1024  # every row has room for all of them


def categorical(entry: Mapping[str, Any], place: str) -> schema_lib.Categorical:
    """A [[categorical]] table; one that reads another's table lacks what is that one's, see
    `with_owner`.

    Raises:
      PfrecError: naming the key that is unknown, missing or of a wrong value.
    """
    known = ("name", "cardinality", "vocabulary", "encoding", "policy", "min_count", "values")
    more = ("separator", "column", "table", "keep", "pooling", "history")
    typed.known_keys(entry, (*known, *more), place)
    name = typed.get(entry, "name", str, place)
    if "history" in entry and "table" not in entry:
        raise errors.PfrecError(f"{place}: history lists the values of a feature; name it as table")
    if "table" in entry:
        return _sharing(entry, name, place)
    vocabulary = _vocabulary(entry, place)
    encoding = typed.get(entry, "encoding", str, place, "vocabulary" if vocabulary else "identity")
    if vocabulary and encoding != "vocabulary":
        raise errors.PfrecError(
            f"{place}: a vocabulary does not go with encoding = {encoding!r}; remove one of them"
        )
    if encoding == "vocabulary" and not vocabulary:
        raise errors.PfrecError(f"{place}: no key 'vocabulary'; list the known values")
    cardinality = _cardinality(entry, vocabulary, place)
    min_count = typed.get(entry, "min_count", int, place, 1)
    if min_count != 1 and encoding != "local_vocabulary":
        raise errors.PfrecError(
            f'{place}: min_count goes with encoding = "local_vocabulary" alone; remove it'
        )
    if min_count < 1:
        raise errors.PfrecError(f"{place}: min_count = {min_count} is below 1")
    values, separator = _list(entry, vocabulary, place)
    policy = typed.get(entry, "policy", str, place, "private")
    return schema_lib.Categorical(
        name,
        cardinality,
        policy,
        encoding,
        vocabulary,
        min_count,
        values,
        separator,
        typed.get(entry, "column", str, place, ""),
        keep=typed.get(entry, "keep", str, place, schema_lib.FIRST),
        pooling=typed.get(entry, "pooling", str, place, schema_lib.MEAN),
    )


def _vocabulary(entry: Mapping[str, Any], place: str) -> "tuple[str, ...]":
    """The known values, each once."""
    vocabulary = tuple(typed.get(entry, "vocabulary", list, place, []))
    for word in vocabulary:
        if not isinstance(word, str):
            raise errors.PfrecError(f"{place}: vocabulary: {word!r} is not text; put it in quotes")
        if vocabulary.count(word) > 1:
            raise errors.PfrecError(f"{place}: vocabulary: {word!r} stands twice; remove one")
    return vocabulary


def _cardinality(entry: Mapping[str, Any], vocabulary: "tuple[str, ...]", place: str) -> int:
    """How many ids there are."""
    cardinality = typed.get(entry, "cardinality", int, place, len(vocabulary) or None)
    if cardinality is None:
        raise errors.PfrecError(
            f"{place}: no key 'cardinality'; say how many ids there are, or list a vocabulary"
        )
    if cardinality > MAX_CARDINALITY:
        raise errors.PfrecError(
            f'{place}: cardinality {cardinality} is above {MAX_CARDINALITY}; use encoding = "hash"'
        )
    return int(cardinality)


def _list(entry: Mapping[str, Any], vocabulary: "tuple[str, ...]", place: str) -> "tuple[int, str]":
    """How many values a row has, and what stands between them."""
    values = _values(entry, place)
    separator = typed.get(entry, "separator", str, place, "|" if values > 1 else "")
    if separator and values == 1:
        raise errors.PfrecError(
            f"{place}: separator goes with a list; say with values how many of its values "
            "count at most"
        )
    if values > 1 and any(separator in word for word in vocabulary):
        raise errors.PfrecError(
            f"{place}: vocabulary: a word holds the separator {separator!r}; choose another with "
            "separator"
        )
    if values > 1 and any(not word or word != word.strip() for word in vocabulary):
        raise errors.PfrecError(
            f"{place}: vocabulary: a word is empty or has blanks at its ends, which values of a "
            "list never are; mend it"
        )
    return values, separator


def _keep(entry: Mapping[str, Any]) -> str:
    """Which values count where nothing is said: of a history the last ones."""
    return schema_lib.LAST if "history" in entry else schema_lib.FIRST


def _sharing(entry: Mapping[str, Any], name: str, place: str) -> schema_lib.Categorical:
    """A feature that reads another's table; `with_owner` fills in what is the other's."""
    for key in ("cardinality", "vocabulary", "encoding", "policy", "min_count"):
        if key in entry:
            raise errors.PfrecError(
                f"{place}: {key} is that of {entry['table']!r}, whose table it reads; leave it out"
            )
    values = _values(entry, place)
    if "history" in entry and values == 1:
        raise errors.PfrecError(f"{place}: no key 'values'; say how many values a history has")
    return schema_lib.Categorical(
        name,
        1,
        values=values,
        separator=typed.get(entry, "separator", str, place, "|" if values > 1 else ""),
        column=typed.get(entry, "column", str, place, ""),
        table=typed.get(entry, "table", str, place),
        keep=typed.get(entry, "keep", str, place, _keep(entry)),
        pooling=typed.get(entry, "pooling", str, place, schema_lib.MEAN),
    )


def histories(
    value: Mapping[str, Any], schema: schema_lib.Schema, made: Mapping[str, str]
) -> "tuple[history.Rule, ...]":
    """The columns that are made from the log.

    Args:
      value: the document.
      schema: its columns and tasks, by the names they were given.
      made: those names by the document's.

    Raises:
      PfrecError: as `categorical`.
    """
    found = []
    features = {feature.name: feature for feature in schema.categorical}
    for entry, place in typed.entries(value, "categorical"):
        if "history" not in entry:
            continue
        told = typed.get(entry, "history", dict, place)
        typed.known_keys(told, ("user", "time", "where"), f"{place}: history")
        feature = features[made[entry["name"]]]
        where = typed.get(told, "where", str, f"{place}: history", "")
        if where and where not in made:
            raise errors.PfrecError(f"{place}: history: where = {where!r} is no task")
        found.append(
            history.Rule(
                feature.raw,
                features[feature.table].raw,
                typed.get(told, "user", str, f"{place}: history"),
                typed.get(told, "time", str, f"{place}: history"),
                made[where] if where else "",
                feature.values,
            )
        )
    return tuple(found)


def with_owner(
    feature: schema_lib.Categorical, features: "list[schema_lib.Categorical]"
) -> schema_lib.Categorical:
    """The feature with what is that of the feature whose table it reads."""
    owner = next((f for f in features if f.name == feature.table and not f.table), None)
    if owner is None:
        # What is wrong with the table's name is told by the schema.
        return feature
    return dataclasses.replace(
        feature,
        cardinality=owner.cardinality,
        policy=owner.policy,
        encoding=owner.encoding,
        vocabulary=owner.vocabulary,
        min_count=owner.min_count,
    )


def numerical(entry: Mapping[str, Any], place: str) -> schema_lib.Numerical:
    """A [[numerical]] table.

    Raises:
      PfrecError: as `categorical`.
    """
    typed.known_keys(
        entry, ("name", "default", "normalise", "column", "values", "separator"), place
    )
    name = typed.get(entry, "name", str, place)
    raw = typed.get(entry, "column", str, place, "")
    normalise = typed.get(entry, "normalise", str, place, "none")
    values = _values(entry, place)
    separator = typed.get(entry, "separator", str, place, "|" if values > 1 else "")
    if values > 1 and normalise != "none":
        raise errors.PfrecError(
            f"{place}: normalise does not go with a vector, which the model normalises; remove it"
        )
    if normalise != "none":
        if "default" in entry:
            raise errors.PfrecError(
                f"{place}: default does not go with normalise: each client's own mean stands in; "
                "remove one of them"
            )
        return schema_lib.Numerical(name, None, normalise, column=raw)
    default = float(typed.get(entry, "default", (int, float), place, 0.0))
    if not abs(default) < 3.4e38:
        raise errors.PfrecError(f"{place}: default = {default} is not a finite 32-bit float")
    return schema_lib.Numerical(name, default, column=raw, values=values, separator=separator)


def _values(entry: Mapping[str, Any], place: str) -> int:
    """How many values a row has."""
    values = typed.get(entry, "values", int, place, 1)
    if not 1 <= values <= MAX_VALUES:
        raise errors.PfrecError(f"{place}: values = {values} is not within 1 to {MAX_VALUES}")
    return int(values)
