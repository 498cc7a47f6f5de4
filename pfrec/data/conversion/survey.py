"""A first look at a user's own files, at the columns that tell scenario and split alone: which
scenarios there are, how many rows each has in each split, and which are to be converted.

What makes a conversion impossible shows here, before the work.
"""

import collections
import functools
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import errors
from pfrec.data import names, splits
from pfrec.data.reading import source

_SHOWN = 20


def take(
    raw: source.Source,
    split_seed: int,
    scenarios: Sequence[str],
    min_rows: int,
    whole: Sequence[str] = (),
) -> dict[str, Any]:
    """Looks at all rows once.

    Args:
      raw: the opened source, whose splitter is made ready.
      split_seed: see `splits.split_of`.
      scenarios: values or names of scenarios to keep; none for all.
      min_rows: scenarios with fewer rows are left out.
      whole: names of scenarios that have rows of every split already.

    Returns:
      A JSON value: `kept`, names of scenarios, or None for all; `names` of those that there will
      be, or None where the rows tell; `values`, from name to value where
      they differ; `notes` for the user; `starts`, the splitter's state.

    Raises:
      PfrecError: where a scenario that is wanted is not there, or one has no rows of a split.
    """
    look = raw.survey
    if look is None and min_rows:
        # Rows must be counted before the work: a public format has all of them read for that.
        look = functools.partial(raw.chunks, None)
    if look is None:
        everyone = None if raw.scenarios is None else list(raw.scenarios)
        nothing: dict[str, Any] = {"names": everyone, "values": {}, "notes": [], "starts": None}
        if raw.chose or not scenarios:
            return {**nothing, "kept": None}
        known = raw.scenarios
        if known is not None:
            _wanted(scenarios, known)
        return {**nothing, "kept": list(scenarios), "names": list(scenarios)}
    if raw.splitter is not None and raw.splitter.open:
        for _, _, chunk in look():
            if len(chunk):
                raw.splitter.see(chunk)
        raw.splitter.close()
    counts: dict[str, np.ndarray] = collections.defaultdict(lambda: np.zeros(3, np.int64))
    for scenario, split, chunk in look():
        if raw.splitter is not None:
            chunk = raw.splitter.place(chunk)
        if not len(chunk):
            continue
        if split is not None:
            places = np.full(len(chunk), splits.SPLITS.index(split), np.int8)
        elif chunk.places is not None:
            places = chunk.places
        else:
            places = splits.split_of(chunk.rows, split_seed, raw.fractions)
        if scenario is not None:
            counts[scenario] += np.bincount(places, minlength=3)
            continue
        assert chunk.scenario is not None
        encoded = chunk.scenario.dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        words = encoded.dictionary.to_pylist()
        table = np.bincount(codes * 3 + places, minlength=3 * len(words)).reshape(-1, 3)
        for value, row in zip(words, table):
            counts[value] += row
    order = [s for s in raw.scenarios or sorted(counts) if s in counts]
    kept = [value for value in order if counts[value].sum() >= min_rows]
    if scenarios:
        chosen = _wanted(scenarios, order)
        kept = [value for value in kept if value in chosen]
    notes = _notes(order, kept, counts)
    if order and not kept:
        raise errors.PfrecError(
            f"no scenario has {min_rows:,} rows; the largest has "
            f"{max(int(c.sum()) for c in counts.values()):,}: lower --min_rows"
        )
    _require_splits([v for v in kept if names.scenario_name(v) not in whole], counts)
    values = {names.scenario_name(value): value for value in kept}
    # Where all are kept nothing is filtered, so that rows without a split are told as bad ones.
    return {
        "kept": list(values) if scenarios or min_rows else None,
        "names": list(values) or None,
        "values": {name: value for name, value in values.items() if name != value},
        "notes": notes,
        "starts": None if raw.splitter is None else raw.splitter.state(),
    }


def chosen(
    raw: source.Source, position: Optional[Any], taken: Mapping[str, Any]
) -> Iterator[source.Chunk]:
    """The chunks of a source with the scenarios that a survey keeps, under their names as
    directories, and with the split of each row where the schema's rule gives it.
    """
    kept = None if taken["kept"] is None else set(taken["kept"])
    for scenario, split, chunk in raw.chunks(position):
        if scenario is not None:
            name = names.scenario_name(scenario)
            if kept is not None and name not in kept:
                continue
            scenario = name
        elif len(chunk):
            chunk = _renamed(chunk, kept)
        if raw.splitter is not None and split is None:
            chunk = raw.splitter.place(chunk)
        yield scenario, split, chunk


def _renamed(chunk: source.RawChunk, kept: "Optional[set[str]]") -> source.RawChunk:
    import dataclasses

    import pyarrow as pa

    assert chunk.scenario is not None
    encoded = chunk.scenario.dictionary_encode()
    made = [names.scenario_name(value) for value in encoded.dictionary.to_pylist()]
    codes = encoded.indices
    chunk = dataclasses.replace(chunk, scenario=pa.array(made, pa.string()).take(codes))
    if kept is None or all(name in kept for name in made):
        return chunk
    wanted = np.array([name in kept for name in made], bool)
    return chunk.take(np.flatnonzero(wanted[codes.to_numpy(zero_copy_only=False)]))


def _wanted(scenarios: Sequence[str], there: Sequence[str]) -> "set[str]":
    """The values that were asked for, by value or by name."""
    by_name = {names.scenario_name(value): value for value in there}
    found = set()
    for scenario in scenarios:
        value = scenario if scenario in there else by_name.get(scenario)
        if value is None:
            raise errors.PfrecError(
                f"--scenarios: no scenario {scenario!r}; there are {_listed(there)}"
            )
        found.add(value)
    return found


def _notes(order: Sequence[str], kept: Sequence[str], counts: Mapping[str, Any]) -> "list[str]":
    notes = [
        f"scenario {value!r} is called {names.scenario_name(value)}"
        for value in kept
        if names.scenario_name(value) != value
    ]
    left = [
        f"{value!r} ({int(counts[value].sum()):,} rows)" for value in order if value not in kept
    ]
    if left:
        notes.append(f"scenarios left out: {_listed(left)}")
    spellings: dict[str, list[str]] = {}
    for value in kept:
        # An accented letter may be one character or two, which no screen tells apart.
        plain = unicodedata.normalize("NFC", value.casefold())
        spellings.setdefault(" ".join(plain.split()), []).append(value)
    notes += [
        f"scenarios {' and '.join(map(repr, alike))} differ in case, blanks or the "
        "encoding of accents alone; if they are one, write "
        f'aliases = {{"{alike[0]}" = "{alike[-1]}"}} under [scenario]'
        for alike in spellings.values()
        if len(alike) > 1
    ]
    return notes


def _require_splits(kept: Sequence[str], counts: Mapping[str, Any]) -> None:
    """Refuses scenarios without rows of a split, all at once."""
    troubled = []
    for value in kept:
        lacking = [name for name, count in zip(splits.SPLITS, counts[value]) if not count]
        if lacking:
            rows = int(counts[value].sum())
            lacks = f"{rows:,} row{'s' * (rows != 1)}, no {' and no '.join(lacking)} rows"
            troubled.append(f"scenario {value!r} ({lacks})")
    if troubled:
        raise errors.PfrecError(
            f"{_listed(troubled)}: a scenario needs train, valid and test rows; leave small ones "
            "out with --min_rows=N, choose with --scenarios=..., join spellings with aliases under "
            "[scenario], or change [split] or --split_seed"
        )


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(map(str, words[:_SHOWN])) + more
