"""What a run's diagnostics say, as plain series and matrices, for charts and pages.

RUN/diagnostics/round_00007.json holds what the algorithm and the guard rails said of the last
aggregation of round 7, by names as `gram/GROUP`: inner products of the clients' updates;
`attention/GROUP`: the weight of each client's values (columns) in what the aggregation offers each
(rows); `own_weight/GROUP`: that of a client's own values beside the offer; `spread`: the factor of
the clients' differences that was found on valid after the round. The matrices are of at most 100
clients.
"""

import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pfrec.report import records

Rounds = Mapping[int, Mapping[str, Any]]

_FORMER_DISTANCE = "template_distance"  # what a run of an earlier pfrec calls it


def rounds(run: pathlib.Path) -> "dict[int, dict[str, Any]]":
    """What was saved of each round, by its number.

    Raises:
      PfrecError: where a file is damaged.
    """
    return {
        int(path.stem[len("round_") :]): dict(records.of_round(path, "train the run again"))
        for path in sorted((run / "diagnostics").glob("round_*.json"))
        if path.stem[len("round_") :].isdecimal()
    }


def by_group(by_round: Rounds, kind: str) -> "dict[str, dict[int, float]]":
    """By group and round, the one number that `KIND/GROUP` is."""
    found: dict[str, dict[int, float]] = {}
    for number, value in sorted(by_round.items()):
        for group, single in of_kind(value, kind).items():
            found.setdefault(group, {})[number] = float(single)
    return dict(sorted(found.items()))


def of_kind(value: Mapping[str, Any], kind: str) -> "dict[str, Any]":
    """What a round says of a kind, by group."""
    start = f"{kind}/"
    return {name[len(start) :]: entry for name, entry in value.items() if name.startswith(start)}


def likeness(
    by_round: Rounds, scenarios: Sequence[str]
) -> "dict[tuple[str, str], dict[int, float]]":
    """By pair of scenarios and round, the mean cosine of their updates over the groups that both
    took part in; below 0 they conflict. Pairs that never met are left out.
    """
    found: dict[tuple[str, str], dict[int, float]] = {}
    pairs = list(itertools.combinations(range(len(scenarios)), 2))
    for number, value in sorted(by_round.items()):
        grams = of_kind(value, "gram").values()
        cosines = [
            _cosines(np.array(gram, np.float64), len(scenarios)) for gram in grams if len(gram)
        ]
        if not cosines:
            continue
        total = np.nansum(cosines, axis=0).tolist()
        groups = np.sum(np.isfinite(cosines), axis=0).tolist()
        for i, j in pairs:
            if groups[i][j]:
                pair = found.setdefault((scenarios[i], scenarios[j]), {})
                pair[number] = total[i][j] / groups[i][j]
    return found


def _cosines(gram: np.ndarray, clients: int) -> np.ndarray:
    """[clients, clients]; NaN where one of the two has no update, or the matrix is of fewer."""
    found = np.full([clients, clients], np.nan)
    own = gram[:clients, :clients]
    squares = np.outer(own.diagonal(), own.diagonal())
    with np.errstate(invalid="ignore", divide="ignore"):
        found[: len(own), : len(own)] = np.where(squares > 0, own / np.sqrt(squares), np.nan)
    return found


def strongest(
    pairs: "Mapping[tuple[str, str], Mapping[int, float]]", most: int
) -> "list[tuple[str, str]]":
    """The pairs that conflict most on the mean over rounds, at most so many, in their order."""
    mean = {pair: math.fsum(of.values()) / len(of) for pair, of in pairs.items()}
    kept = set(sorted(mean, key=lambda pair: mean[pair])[:most])
    return [pair for pair in pairs if pair in kept]


def distances(by_round: Rounds, scenarios: Sequence[str]) -> "dict[str, dict[int, float]]":
    """By scenario and round, how far its personal values are from what is common to all: the root
    of the summed squares over all groups.
    """
    found: dict[str, dict[int, float]] = {}
    for client, scenario in enumerate(scenarios):
        for number, value in sorted(by_round.items()):
            told = of_kind(value, "consensus_distance") or of_kind(value, _FORMER_DISTANCE)
            squares = [own[client] * own[client] for own in told.values() if client < len(own)]
            if squares:
                found.setdefault(scenario, {})[number] = math.fsum(squares) ** 0.5
    return found


def applied(value: Mapping[str, Any], clients: int) -> "dict[str, list[list[float]]]":
    """By group, the weight of each scenario's values (columns) in what each gets back (rows), its
    own included.

    Formula: `v[k] * (k == j) + (1 - v[k]) * a[k, j]`, with the attention a and the own weight v;
    rows sum to 1. Left out where a run's pfrec did not note v.
    """
    found: dict[str, list[list[float]]] = {}
    own_weights = of_kind(value, "own_weight")
    for group, attention in sorted(of_kind(value, "attention").items()):
        own = own_weights.get(group)
        if own is not None and len(attention) == len(own) == clients:
            found[group] = [
                [own[k] * (k == j) + (1.0 - own[k]) * a for j, a in enumerate(row)]
                for k, row in enumerate(attention)
            ]
    return found


def events(by_round: Rounds) -> "list[tuple[int, str, str]]":
    """What the guard rails did: round, scenario (empty for all) and what happened."""
    found: list[tuple[int, str, str]] = []
    for number, value in sorted(by_round.items()):
        for name, words in (
            ("refused", "update refused: {}"),
            ("skipped", "missed the round: {}"),
            ("clipped", "update scaled by {:.3g}"),
        ):
            for scenario, why in value.get(name, {}).items():
                found.append((number, scenario, words.format(why)))
        if value.get("applied") is False:
            found.append((number, "", "not applied: the server's values stayed as they were"))
    return found
