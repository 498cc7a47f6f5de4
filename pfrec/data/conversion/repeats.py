"""Whether further rows are in the dataset already, as where a month is appended twice.

Two looks. What an input holds is summed up as a multiset of rows, in any order and however it lies
in files: an input that a dataset holds is known again, also where rows of a log honestly repeat.
And new rows are looked for among those that are there, which finds an input that was changed a
little or that holds its earlier part again. There honest repeats are told from copies by
Good and Turing's estimate: of rows drawn as the old ones were, as many have never been seen as
stand once among the old ones (https://doi.org/10.1093/biomet/40.3-4.237).
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from pfrec import errors
from pfrec.data import splits
from pfrec.data.conversion import appending, watch
from pfrec.data.dataset import row_check

# Below so many rows equal ones may be chance.
_FEWEST = 100
# Beyond what honest repeats explain, this part of new rows is told, and of rows that hardly repeat
# so many are refused.
_TOLD, _NEARLY_ALL, _HARDLY = 0.2, 0.9, 0.5
# Rows that are fingerprinted at once, and different ones that are kept; of more, a sample.
_AT_ONCE, _KEPT = 1 << 16, 200_000
_REMEDY = "name the rows that follow them as --input, or pass --on_repeated_rows=keep to add them"

Content = Mapping[str, Mapping[str, Any]]


class Contents:
    """Sums up the rows of an input by scenario, whatever their order."""

    def __init__(self, state: Content) -> None:
        """Goes on from what `state` returned, {} of no row."""
        self._rows = {name: int(told["rows"]) for name, told in state.items()}
        self._sums = {name: int(told["sum"], 16) for name, told in state.items()}

    def add(self, scenario: str, prints: np.ndarray) -> None:
        """Takes in the `watch.fingerprints` of rows."""
        self._rows[scenario] = self._rows.get(scenario, 0) + len(prints)
        added = int(splits.splitmix64(prints).sum(dtype=np.uint64))
        self._sums[scenario] = (self._sums.get(scenario, 0) + added) % (1 << 64)

    def state(self) -> "dict[str, dict[str, Any]]":
        """By scenario its `rows` and the `sum` of their hashes, a JSON value."""
        return {
            name: {"rows": rows, "sum": f"{self._sums[name]:016x}"}
            for name, rows in sorted(self._rows.items())
        }


def find(
    before: appending.Before, contents: Content, prints: np.ndarray, shift: int
) -> "list[str]":
    """Looks for an input among those that a dataset was made of, and unless that knows all of its
    scenarios again, for its rows among those of the dataset.

    Args:
      before: the dataset, which says what each of its inputs held.
      contents: what the new one holds.
      prints: `watch.fingerprints` of new rows, a sample of one in 2**`shift`.
      shift: see `prints`.

    Returns:
      A line of the scenarios whose new rows are, all together, those of one of the inputs, and a
      line where many new rows are in the dataset, more than rows of its kind repeat.

    Raises:
      PfrecError: where scenarios' rows, or nearly all, are there and they are not to be added.
    """
    contents = {name: own for name, own in contents.items() if own["rows"]}  # not all bad
    known = [
        name
        for name, own in contents.items()
        if any(earlier.get(name) == own for earlier in before.inputs)
    ]
    if not known:
        return _among(before, prints, shift)
    told = _held(before, contents, known)
    return told if known == list(contents) else [*told, *_among(before, prints, shift)]


def _held(before: appending.Before, contents: Content, known: "list[str]") -> "list[str]":
    """Refuses the scenarios that are `known` again, or warns of them."""
    rows = sum(contents[name]["rows"] for name in known)
    told = f"the {rows:,} new rows of {', '.join(known)} are in {before.data.path} already"
    if rows >= _FEWEST and before.refuses_repeated:
        raise errors.PfrecError(f"--input: {told}, appended or converted before; {_REMEDY}")
    return [f"{told}; {_twice(before)}"]


def _among(before: appending.Before, prints: np.ndarray, shift: int) -> "list[str]":
    """Looks for new rows among those of a dataset, which are read for that."""
    kinds, counts = np.unique(prints, return_counts=True)
    if not len(kinds):
        return []
    seen, old = np.zeros(len(kinds), bool), _Kinds()
    for scenario in before.data.scenarios:
        for split in splits.SPLITS:
            for shard in before.data.shards(scenario, split):
                for rows in row_check.blocks(
                    pathlib.Path(shard), before.data.schema, rows_at_once=_AT_ONCE
                ):
                    own = watch.fingerprints(scenario, rows)
                    old.add(own)
                    mine = watch.sampled(own, shift)
                    place = np.searchsorted(kinds, mine)
                    place[place == len(kinds)] = 0
                    seen[place[kinds[place] == mine]] = True
    new, there = int(counts.sum()), int(counts[seen].sum())
    if there << shift < _FEWEST or there / new < old.repeating + _TOLD:
        return []
    about = "about " if shift else ""
    told = (
        f"{about}{there << shift:,} of {new << shift:,} new rows equal in every feature and label "
        f"a row that is in {before.data.path} already, {there / new:.0%} where rows that repeat "
        f"explain {old.repeating:.0%}"
    )
    if there / new >= _NEARLY_ALL and old.repeating <= _HARDLY and before.refuses_repeated:
        raise errors.PfrecError(f"--input: {told}; {_REMEDY}")
    return [f"{told}; {_twice(before)}: check that --input holds later rows alone"]


def _twice(before: appending.Before) -> str:
    return (
        "they stand twice now"
        if before.keep_rows
        else "a run of these that goes on has learned them before"
    )


class _Kinds:
    """How often rows repeat, by a sample of the different ones."""

    def __init__(self) -> None:
        self._kinds, self._counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        self._shift = 0
        self._waiting: list[np.ndarray] = []

    def add(self, prints: np.ndarray) -> None:
        # Many at a time, as they are sorted among those that are there.
        self._waiting.append(watch.sampled(prints, self._shift))
        if sum(map(len, self._waiting)) > _KEPT:
            self._count()

    def _count(self) -> None:
        waiting = np.concatenate([np.zeros(0, np.uint64), *self._waiting])
        self._waiting = []
        own, counts = np.unique(watch.sampled(waiting, self._shift), return_counts=True)
        joined = np.concatenate([self._kinds, own])
        self._kinds, place = np.unique(joined, return_inverse=True)
        weights = np.concatenate([self._counts, counts])
        self._counts = np.bincount(place, weights, len(self._kinds)).astype(np.int64)
        while len(self._kinds) > _KEPT:
            self._shift += 1
            kept = watch.sampled(self._kinds, self._shift)
            self._counts = self._counts[np.isin(self._kinds, kept)]
            self._kinds = kept

    @property
    def repeating(self) -> float:
        """The part of further rows of their kind that is expected to be among them."""
        self._count()
        rows = int(self._counts.sum())
        return 1.0 - int((self._counts == 1).sum()) / rows if rows else 0.0
