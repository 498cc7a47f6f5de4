"""An equal tuning budget for all entries of a comparison: as many points of the same space, each
tried on the first seed, the best on valid kept.

A space of one flag with its values is tried value by value. Any other, of several flags or of
ranges, is tried at points of a scrambled Sobol sequence, which covers it evenly in every flag and
every pair of flags, whatever few of them matter. With successive halving all points are trained for
a few rounds, and only the better part of them goes on, several times, until the last few have had
all rounds.

References:
  Sobol, "On the distribution of points in a cube and the approximate evaluation of integrals",
  1967; Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012; Jamieson
  and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS
  2016 (successive halving).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pfrec import errors
from pfrec import settings as settings_lib
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.comparison import entries as entries_lib

DEFAULT_POINTS = 8
HEADER = ("entry", "with", "rounds", "valid_auc", "chosen")
_LOG_FROM = 10.0  # ranges of a power of ten and more are tried by their logarithm
_EDGE = 0.05  # of a range, on either side
_HOW = "learning_rate=0.001|0.003, or a range, as learning_rate=0.001..0.1"


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One flag of a space.

    Attributes:
      flag: of a training.
      values: the texts that are tried; empty for a range.
      low, high: the bounds of a range.
    """

    flag: str
    values: "tuple[str, ...]" = ()
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Dimension":
        """The inverse of `FLAG=VALUE|VALUE...` and of `FLAG=LOW..HIGH`.

        Raises:
          PfrecError: where it is neither, or a value stands twice.
        """
        flag, equals, given = text.partition("=")
        low, dots, high = given.partition("..")
        if flag and dots:
            try:
                bounds = float(low), float(high)
            except ValueError:
                bounds = (1.0, 0.0)
            if bounds[0] < bounds[1] and all(map(math.isfinite, bounds)):
                return cls(flag, (), *bounds)
        values = tuple(given.split("|"))
        if not flag or not equals or dots or not all(values) or len(set(values)) != len(values):
            raise errors.PfrecError(
                f"--tune={text}: give a flag and its values, each once, as {_HOW}"
            )
        return cls(flag, values)

    @property
    def logarithmic(self) -> bool:
        """Whether a range is tried by its logarithm."""
        return self.low > 0.0 and self.high / self.low >= _LOG_FROM

    def text(self, place: float, kind: type) -> str:
        """The value at a place from 0 to 1; `kind` is the flag's type."""
        if self.values:
            return self.values[min(int(place * len(self.values)), len(self.values) - 1)]
        if kind is int:  # all whole numbers alike
            low, high = math.log(self.low) if self.logarithmic else self.low, self.high + 1.0
            high = math.log(high) if self.logarithmic else high
            value = low + place * (high - low)
            return str(min(int(math.exp(value) if self.logarithmic else value), int(self.high)))
        if self.logarithmic:
            return f"{self.low * (self.high / self.low) ** place:.3g}"
        return f"{self.low + place * (self.high - self.low):.3g}"

    def at_edge(self, text: str) -> bool:
        """Whether a value lies at the edge of those tried, so that a better one may lie beyond.

        Values that are no numbers have no edges, and two of them or fewer have nothing but edges.
        """
        try:
            value, numbers = float(text), sorted(map(float, self.values))
        except ValueError:
            return False
        if self.values:
            return len(numbers) > 2 and value in (numbers[0], numbers[-1])
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return not low + _EDGE * (high - low) < value < high - _EDGE * (high - low)

    def __str__(self) -> str:
        if self.values:
            return f"{self.flag} among {', '.join(self.values)}"
        return f"{self.flag} from {self.low:g} to {self.high:g}"


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What is tried.

    Attributes:
      dimensions: the flags.
      points: how many points each entry tries; 0 for all values of one flag.
    """

    dimensions: "tuple[Dimension, ...]"
    points: int = 0

    @classmethod
    def parse(cls, *texts: str, points: int = 0) -> "Tuning":
        """The tuning by some texts of `Dimension.parse`.

        Args:
          texts: one for each flag.
          points: a power of two; 0 for all values of one flag, else `DEFAULT_POINTS`.

        Raises:
          PfrecError: where a text or the number does not fit, or a flag stands twice.
        """
        found = tuple(map(Dimension.parse, texts))
        flags = [one.flag for one in found]
        if len(set(flags)) != len(flags):
            raise errors.PfrecError(f"--tune: {', '.join(flags)}: give each flag once")
        if points & (points - 1):
            lower = 1 << (points.bit_length() - 1)
            raise errors.PfrecError(
                f"--tune_points={points}: Sobol points are even for powers of two; take {lower} "
                f"or {2 * lower}"
            )
        if not points and (len(found) > 1 or not found[0].values):
            points = DEFAULT_POINTS
        return cls(found, points)

    def candidates(self, entry: entries_lib.Entry) -> "list[entries_lib.Entry]":
        """What stands for an entry while it is tuned, each once: the entry alone where it has
        values of its own of all flags, or where they are other algorithms'.
        """
        own = [one for one in self.dimensions if self._tunes(one, entry)]
        if not own:
            return [entry]
        if not self.points:
            return [entry.with_setting(own[0].flag, value) for value in own[0].values]
        kinds = [_kind(entry, one.flag) for one in own]
        found = []
        for point in _sobol(len(own), self.points):
            candidate = entry
            for one, place, kind in zip(own, point, kinds):
                candidate = candidate.with_setting(one.flag, one.text(place, kind))
            found.append(candidate)
        return list(dict.fromkeys(found))

    def _tunes(self, one: Dimension, entry: entries_lib.Entry) -> bool:
        return one.flag not in dict(entry.settings) and one.flag in _flags(entry)

    def require_concerned(self, asked: "Sequence[entries_lib.Entry]") -> None:
        """Checks that each flag is one of a training of some entry, and one that can be tuned.

        Raises:
          PfrecError: where one is not.
        """
        for one in self.dimensions:
            if one.flag == "rounds":
                raise errors.PfrecError(
                    "--tune=rounds: every run keeps the best on valid of all its rounds, so the "
                    "most are the best; give --rounds, or entries of their own, as "
                    "fedavg:rounds=5"
                )
            if not any(one.flag in _flags(entry) for entry in asked):
                raise errors.PfrecError(
                    f"--tune={one.flag}: {one.flag} is no flag of a training of these"
                )

    def edge_note(self, chosen: entries_lib.Entry) -> str:
        """What to say where a value that an entry chose is at the edge of those tried; else
        nothing.
        """
        own = dict(chosen.settings)
        edges = [
            f"{one.flag} is at the edge of those tried, {own[one.flag]}"
            for one in self.dimensions
            if one.flag in own and one.at_edge(own[one.flag])
        ]
        told = " and the best ".join(edges)
        return told and f"{chosen.name}: the best {told}; a better one may lie beyond"

    def sentence(self, halving: int) -> str:
        """What was tried, in words."""
        what = " and ".join(map(str, self.dimensions))
        its = "its" if len(self.dimensions) == 1 else "what it has of"
        points = f", at up to {self.points} Sobol points," if self.points else ""
        halved = f", of which one in {halving} went on after each rung" if halving else ""
        return f"Each chose {its} {what}{points} by `valid` of the first seed{halved}"


@dataclasses.dataclass(frozen=True)
class Tried:
    """A candidate that was tried.

    Attributes:
      candidate: which.
      rounds: that it was trained at most.
      score: `selection.score` of its best round; -1 where it is of no use.
    """

    candidate: entries_lib.Entry
    rounds: int
    score: float

    @property
    def told(self) -> float:
        """The score as it is told: NaN where it is of no use."""
        return self.score if self.score >= 0.0 else math.nan


def best_first(tried: "Sequence[Tried]") -> "list[Tried]":
    """The better ones first, of equals the earlier."""
    return sorted(tried, key=lambda one: -one.score)


def rungs(candidates: int, rounds: int, halving: int) -> "list[tuple[int, int]]":
    """The rungs of successive halving: how many candidates are trained to how many rounds.

    Args:
      candidates: at the start.
      rounds: of a whole training.
      halving: one in so many goes on to the next rung, of so many times the rounds; 0 for no
        halving.
    """
    if not halving:
        return [(candidates, rounds)]
    last = min(int(math.log(candidates, halving) + 1e-9), int(math.log(rounds, halving) + 1e-9))
    return [
        (math.ceil(candidates / halving**rung), math.ceil(rounds / halving ** (last - rung)))
        for rung in range(last + 1)
    ]


def _flags(entry: entries_lib.Entry) -> "set[str]":
    return plan_lib.setting_names(plan_lib.Plan(entry.algorithm))


def _kind(entry: entries_lib.Entry, flag: str) -> type:
    """The type of a flag's values."""
    own = plan_lib.Plan(entry.algorithm).settings
    classes = [plan_lib.Plan, ModelConfig, *([type(own)] if own else [])]
    found = [one for c in classes for one in settings_lib.of(c) if flag in (one.flag, one.alias)]
    return found[0].kind


def _sobol(dimensions: int, points: int) -> "Sequence[Sequence[float]]":
    """Points of a scrambled Sobol sequence in the unit cube; the same every time."""
    from scipy.stats import qmc

    sampler = qmc.Sobol(dimensions, scramble=True, seed=0)
    return list(sampler.random_base2(points.bit_length() - 1).tolist())


def to_json(tried: "Mapping[str, Sequence[Tried]]") -> "dict[str, Any]":
    """What each entry came to on `valid` with each candidate; None where that is of no use."""
    return {
        name: {one.candidate.name: None if math.isnan(one.told) else one.told for one in several}
        for name, several in tried.items()
    }


def table(
    tried: "Mapping[str, Sequence[Tried]]", chosen: "Sequence[entries_lib.Entry]"
) -> "list[tuple[str, str, int, float, str]]":
    """Rows of what was tried, for each entry the best first: entry, what it was given, rounds,
    score, NaN where it is of no use, and whether it was chosen.
    """
    names = {entry.name for entry in chosen}
    return [
        (
            name,
            one.candidate.name[len(name) :].lstrip(":"),
            one.rounds,
            one.told,
            "chosen" if one.candidate.name in names else "",
        )
        for name, several in tried.items()
        # Scores after fewer rounds are no rivals of those after all.
        for one in sorted(several, key=lambda one: (-one.rounds, -one.score))
    ]
