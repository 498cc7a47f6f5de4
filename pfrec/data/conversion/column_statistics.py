"""What a column holds, counted in bounded memory: for a first guess at its part in a schema."""

import dataclasses
from typing import Any, Optional

import numpy as np

from pfrec.data.reading import column_text, words

# Beyond this many distinct values a column only counts as one with many.
MAX_DISTINCT = 100_000
# More spellings than true and false have in a log, as `1`, `true`, `True` and `yes` of one label.
_MAX_SPELLINGS = 64
# So many rows are kept to see whether a column tells a label.
KEPT_ROWS = 50_000


@dataclasses.dataclass
class ColumnStatistics:
    """Counts of one column.

    Attributes:
      name: the column's name.
      rows: rows seen.
      missing: those that are empty.
      counted: the distinct values with their numbers of rows, the first `MAX_DISTINCT` of them.
      capped: whether there are more distinct values.
      numbers: whether every value is a number, and one of them finite.
      whole: whether every value is a whole number of any length, written without a leading zero.
      infinite: rows whose number is infinite as a 64-bit float.
      smallest: the smallest finite number.
      largest: the largest finite number.
      kept: texts of the first rows.
      null_words: spellings of a missing value, until `settle` says what they are.
      longest: of a column of lists, how many values the longest has; distinct values are then those
        within the lists.
    """

    name: str
    rows: int = 0
    missing: int = 0
    counted: "dict[str, int]" = dataclasses.field(default_factory=dict)
    capped: bool = False
    numbers: bool = True
    whole: bool = True
    infinite: int = 0
    smallest: float = np.inf
    largest: float = -np.inf
    kept: "list[str]" = dataclasses.field(default_factory=list)
    longest: int = 0
    null_words: "dict[str, int]" = dataclasses.field(default_factory=dict)

    def settle(self) -> None:
        """Ends counting: what spells a missing value is one among numbers and truth values, and a
        word among words, as in a conversion.
        """
        if self.infinite and self.smallest > self.largest:
            self.numbers = False  # Not one finite number: `inf` is a word there.
        count = sum(self.null_words.values())
        if self.numbers or self.truth is not None:
            self.missing += count
        else:
            self.counted.update(self.null_words)
        self.null_words = {}

    def add(self, texts: Any) -> None:
        """Counts an Arrow string array without nulls; empty text is missing."""
        from pyarrow import compute

        self._keep(texts)
        self._count(texts.filter(compute.not_equal(texts, "")))

    def add_lists(self, values: Any) -> None:
        """Counts a column of lists; an empty one is missing."""
        import pyarrow as pa

        found = column_text.lists(values, "")
        rows: list[list[str]] = [[] for _ in range(len(values))]
        for value, row in zip(found.values.to_pylist(), found.rows.tolist()):
            rows[row].append(value)
        self._keep(pa.array(map(" ".join, rows), pa.string()))
        self.longest = max(self.longest, *map(len, rows), 0)
        self._count(found.values)

    def _keep(self, texts: Any) -> None:
        from pyarrow import compute

        self.rows += len(texts)
        self.kept += texts.slice(0, max(0, KEPT_ROWS - len(self.kept))).to_pylist()
        self.missing += compute.sum(compute.equal(texts, "")).as_py() or 0

    def _count(self, present: Any) -> None:
        import pyarrow as pa
        from pyarrow import compute

        if not len(present):
            return
        null = compute.is_in(present, value_set=pa.array(words.nulls(), pa.string()))
        for entry in present.filter(null).value_counts().to_pylist():
            word = entry["values"]
            self.null_words[word] = self.null_words.get(word, 0) + entry["counts"]
        present = present.filter(compute.invert(null))
        if not len(present):
            return
        for entry in present.value_counts().to_pylist():
            if entry["values"] in self.counted or len(self.counted) < MAX_DISTINCT:
                self.counted[entry["values"]] = (
                    self.counted.get(entry["values"], 0) + entry["counts"]
                )
            else:
                self.capped = True
        if self.numbers:
            try:
                values = (
                    compute.utf8_trim_whitespace(present)
                    .cast(pa.float64())
                    .to_numpy(zero_copy_only=False)
                )
            except pa.ArrowInvalid:
                self.numbers = self.whole = False
                return
            finite = values[np.isfinite(values)]
            self.infinite += len(values) - len(finite)
            self.smallest = min(self.smallest, finite.min(initial=np.inf))
            self.largest = max(self.largest, finite.max(initial=-np.inf))
        if self.whole:
            self.whole = (
                self.numbers
                and compute.all(
                    compute.match_substring_regex(present, r"^(0|-?[1-9][0-9]*)$")
                ).as_py()
            )

    @property
    def present(self) -> int:
        """Rows that are not empty."""
        return self.rows - self.missing

    @property
    def distinct(self) -> int:
        """How many distinct values, or `MAX_DISTINCT` where there are more."""
        return len(self.counted)

    @property
    def truth(self) -> "Optional[tuple[str, ...]]":
        """What a schema must say for its values to be labels, lines of TOML; None where they are
        none: it holds truth values, both of them, or -1 beside 0 and 1.
        """
        if self.longest or self.distinct > _MAX_SPELLINGS:
            return None
        found = set(map(words.canonical, self.counted))
        if found == {"-1", "0", "1"}:
            return ("unobserved = [-1]  # a guess; or negative = [-1, 0]",)
        if found == {"-1", "1"}:
            return ("negative = [-1]", "positive = [1]")
        both = found.intersection(words.TRUE) and found.intersection(words.FALSE)
        return () if both and found.issubset({*words.TRUE, *words.FALSE}) else None

    @property
    def binary(self) -> bool:
        """Whether it can be a label."""
        return self.truth is not None

    @property
    def positives(self) -> int:
        """Rows of a label that are positive."""
        return sum(n for word, n in self.counted.items() if words.canonical(word) in words.TRUE)

    @property
    def unlike(self) -> bool:
        """Whether nearly every row has a value of its own, as an identifier's have."""
        return (
            self.present > 50
            and not self.longest
            and (self.capped or self.distinct > 0.9 * self.present)
        )


def telling(column: ColumnStatistics, label: ColumnStatistics) -> float:
    """How well a column alone ranks a label on the kept rows, as an AUC of 0.5 to 1;
    NaN where that cannot be said.

    A number ranks by its value, either way round. Any other value ranks by the label's mean among
    the even rows that have it, judged on the odd rows.
    """
    labels = np.array([words.canonical(value) in words.TRUE for value in label.kept])
    if column.numbers and column.distinct > 20 and not column.longest:
        present = np.array([not words.is_null(value) for value in column.kept], bool)
        scores, labels = (
            np.array([float(v) for v, p in zip(column.kept, present) if p], np.float64),
            labels[present],
        )
    else:
        sums: dict[str, list[int]] = {}
        for value, positive in zip(column.kept[::2], labels[::2].tolist()):
            entry = sums.setdefault(value, [0, 0])
            entry[0] += positive
            entry[1] += 1
        mean = float(labels.mean()) if len(labels) else 0.0
        scores = np.array(
            [
                (sums[v][0] + mean) / (sums[v][1] + 1) if v in sums else mean
                for v in column.kept[1::2]
            ]
        )
        labels = labels[1::2]
    positives = int(labels.sum())
    if not 0 < positives < len(labels):
        return float("nan")
    # The Mann-Whitney statistic; equal scores share the mean of their ranks.
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    auc = float(
        (ranks[labels].sum() - positives * (positives + 1) / 2)
        / (positives * (len(labels) - positives))
    )
    return max(auc, 1 - auc)
