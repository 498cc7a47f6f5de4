"""The columns and tasks of a dataset: what each is, and what does not fit together."""

import dataclasses
from typing import Optional

from pfrec import errors

# Stands where a list has no further value.
NO_VALUE = -1
POLICIES = ("private", "shared")
ENCODINGS = ("identity", "hash", "vocabulary", "local_vocabulary")
NORMALISATIONS = ("none", "standard", "minmax")
FIRST, LAST = "first", "last"
MEAN, ATTENTION = "mean", "attention"
MISSING_LABELS = ("bad", "unobserved", "0")


@dataclasses.dataclass(frozen=True)
class Categorical:
    """A categorical column.

    Attributes:
      name: the column's name, also the name of the served input.
      cardinality: how many known ids there are; ids are 0 to cardinality - 1. Id `cardinality`
        means unknown.
      policy: whether its embedding table may leave the client: `private` or `shared`.
      encoding: how a raw value becomes an id. `identity`: the value is the id. `hash`: FarmHash
        fingerprint of its text modulo cardinality (`tf.strings.to_hash_bucket_fast`). `vocabulary`:
        its place in `vocabulary`, else unknown. `local_vocabulary`: the same, with a vocabulary
        that each client makes of its own training rows and keeps; private features only.
      vocabulary: the known values, for `vocabulary` only; agreed beforehand, so equal in all
        scenarios. May be shorter than the cardinality: ids without a value are never used.
      min_count: how often a value must occur among a client's training rows to enter its local
        vocabulary; rarer ones are unknown.
      values: how many values a row has. 1: exactly one. N above 1: a list of any length, of which
        the first N count; its embedding is the mean of theirs, and zero where the list is empty.
      separator: what stands between the values of a list in text; empty where values is 1.
      column: the raw column; empty where it is called as the feature.
      table: the feature whose embedding table it reads too, with whose encoding, cardinality and
        policy; empty for a table of its own.
      keep: which values of a longer list count: the `first` or the `last` N.
      pooling: how a list's embedding is made of its values': their `mean`, or `attention`, a mean
        weighted by how each fits the row's value of the feature `table`.
    """

    name: str
    cardinality: int
    policy: str = "private"
    encoding: str = "identity"
    vocabulary: tuple[str, ...] = ()
    min_count: int = 1
    values: int = 1
    separator: str = ""
    column: str = ""
    table: str = ""
    keep: str = FIRST
    pooling: str = MEAN

    @property
    def raw(self) -> str:
        """The raw column."""
        return self.column or self.name

    @property
    def owner(self) -> str:
        """The feature that its table, and what its ids mean, belong to."""
        return self.table or self.name

    def check(self) -> None:
        """Checks that what it says fits together.

        Raises:
          PfrecError: where it does not.
        """
        if self.policy not in POLICIES:
            raise errors.PfrecError(
                f"schema: {self.name}: policy {self.policy!r} is not one of {', '.join(POLICIES)}"
            )
        if self.encoding not in ENCODINGS:
            raise errors.PfrecError(
                f"schema: {self.name}: encoding {self.encoding!r} is not one of "
                f"{', '.join(ENCODINGS)}"
            )
        if self.cardinality < 1:
            raise errors.PfrecError(
                f"schema: {self.name}: cardinality {self.cardinality} is below 1"
            )
        if len(self.vocabulary) > self.cardinality:
            raise errors.PfrecError(
                f"schema: {self.name}: cardinality is below the length of its vocabulary"
            )
        if self.values < 1 or (self.values > 1) != bool(self.separator):
            raise errors.PfrecError(
                f"schema: {self.name}: values = {self.values} and separator = "
                f"{self.separator!r}: give 1 and none for a single "
                "value, more and a separator for a list"
            )
        if self.encoding == "local_vocabulary" and self.policy != "private":
            raise errors.PfrecError(
                f"schema: {self.name}: ids of a local vocabulary mean something else at "
                "every client, so its table cannot be "
                'shared; use encoding = "hash" or "vocabulary"'
            )


@dataclasses.dataclass(frozen=True)
class Numerical:
    """A numerical column.

    Attributes:
      name: the column's name, also the name of the served input.
      default: replaces a missing raw value where missing values are imputed, in training and in
        serving. None where the client's own mean does, which only its `client_schema.json` says: in
        the agreed schema of a normalised column.
      normalise: what is done to raw values: `none`; `standard`, (value - mean) / standard
        deviation; `minmax`, (value - smallest) / (largest - smallest). The statistics are those of
        the client's own training rows, and stay with it.
      shift: what is subtracted from a raw value (client's schema only).
      scale: what the difference is divided by (client's schema only).
      column: the raw column; empty where it is called as the feature.
      values: how many numbers a row has. Above 1 the column holds vectors of exactly so many, which
        the model's batch normalisation alone normalises.
      separator: what stands between the numbers of a vector in text; empty where values is 1.
    """

    name: str
    default: Optional[float] = 0.0
    normalise: str = "none"
    shift: float = 0.0
    scale: float = 1.0
    column: str = ""
    values: int = 1
    separator: str = ""

    @property
    def raw(self) -> str:
        """The raw column."""
        return self.column or self.name

    def check(self) -> None:
        """Checks that what it says fits together.

        Raises:
          PfrecError: where it does not.
        """
        if self.normalise not in NORMALISATIONS:
            raise errors.PfrecError(
                f"schema: {self.name}: normalise {self.normalise!r} is not one of "
                f"{', '.join(NORMALISATIONS)}"
            )
        if self.values < 1 or (self.values > 1) != bool(self.separator):
            raise errors.PfrecError(
                f"schema: {self.name}: values = {self.values} and separator = "
                f"{self.separator!r}: give 1 and none for a single number, more and a "
                "separator for a vector"
            )
        if self.values > 1 and self.normalise != "none":
            raise errors.PfrecError(
                f"schema: {self.name}: normalise does not go with a vector, which the model "
                "normalises; remove it"
            )


@dataclasses.dataclass(frozen=True)
class Task:
    """A binary task.

    Attributes:
      name: the task's name, also the name of the served output.
      column: the label column.
      given: a task on whose positive rows alone this one is defined (as conversion given click);
        None for all rows. An empty label counts for nothing where the task is not defined.
      positive: the words (`words.canonical`) that mean 1. With neither `positive` nor `negative`,
        1, true, yes, y and t do; with `negative` alone, all that are not in it.
      negative: the words that mean 0. With neither list, 0, false, no, n and f do; with `positive`
        alone, all that are not in it.
      unobserved: the words that mean that nobody knows.
      positive_from: labels are numbers, and this and all above mean 1, all below 0.
      missing: what an empty label means where the task is defined: that the row is `bad`, that the
        label is `unobserved`, or `0`.
    """

    name: str
    column: str
    given: Optional[str] = None
    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    unobserved: tuple[str, ...] = ()
    positive_from: Optional[float] = None
    missing: str = "bad"

    def check_labels(self) -> None:
        """Checks that what it says of its labels fits together.

        Raises:
          PfrecError: where it does not.
        """
        place = f"schema: task {self.name}"
        if self.missing not in MISSING_LABELS:
            raise errors.PfrecError(
                f"{place}: missing = {self.missing!r} is not one of {', '.join(MISSING_LABELS)}"
            )
        if self.positive_from is not None and (self.positive or self.negative):
            raise errors.PfrecError(
                f"{place}: positive_from does not go with positive or negative; remove one of them"
            )
        words = [*self.positive, *self.negative, *self.unobserved]
        for word in words:
            if words.count(word) > 1:
                raise errors.PfrecError(
                    f"{place}: {word!r} stands twice in positive, negative and unobserved; "
                    "remove one"
                )
