"""The best of an entry's candidates, all trained alike."""

import dataclasses
from collections.abc import Callable, Sequence

from tff_process import plan as plan_lib
from tff_process.comparison import entries as entries_lib
from tff_process.comparison import runs, tuning


def search(
    candidates: "Sequence[entries_lib.Entry]",
    plan: "Callable[[entries_lib.Entry], plan_lib.Plan]",
    halving: int,
    runner: runs.Runner,
) -> "list[tuning.Tried]":
    """Trains candidates, by successive halving where it is asked for.

    Args:
      candidates: of one entry.
      plan: of a candidate on the seed that they are held against each other by.
      halving: see `tuning.rungs`.
      runner: trains them.

    Returns:
      all of them, the best of those that had all rounds first.

    Raises:
      PfrecError: where a run was made by another plan or on other data.
    """
    ranked = [tuning.Tried(candidate, 0, 0.0) for candidate in candidates]
    dropped: list[tuning.Tried] = []
    for number, rounds in tuning.rungs(len(ranked), plan(candidates[0]).rounds, halving):
        dropped, left = ranked[number:] + dropped, ranked[:number]
        found = runner.scores(
            (one.candidate, dataclasses.replace(plan(one.candidate), rounds=rounds)) for one in left
        )
        ranked = tuning.best_first(
            [tuning.Tried(one.candidate, rounds, score) for one, score in zip(left, found)]
        )
    return ranked + dropped
