"""Synthetic data in the processed AliExpress shape, with a known amount of shared,
scenario-specific and conflicting signal.

A row x has 16 categorical values and 63 numbers (see `World.draw` of `synthetic_worlds`). Click and
conversion of scenario s are drawn from

    u_s(x) = (p_s(x) + q_s(x)) / sqrt(2)
    v_s(x) = (sqrt(1 - conflict) * p_s(x) - sqrt(conflict) * q_s(x) + r_s(x)) / sqrt(2)
    P(click | x) = sigmoid(CLICK_SCALE * u_s(x) + b_s)
    P(conversion | click, x) = sigmoid(CONVERSION_SCALE * v_s(x) + c_s)

so p helps both tasks, q helps clicks and harms conversions, r concerns conversions alone, and u and
v have unit variance and the correlation (sqrt(1 - conflict) - sqrt(conflict)) / 2. Each of p, q and
r is partly the same function in all scenarios:

    p_s(x) = sqrt(shared) * f_common(x) + sqrt(1 - shared) * f_s(x)

Every f is a random function of its own choice of features with zero mean and unit variance (see
`RandomFunction`). The biases b_s and c_s give a scenario about 10% clicks and 20% conversions among
them, varied a little by scenario, so `ctcvr` has about 2%. Scenarios also differ in how features
are distributed.

Rows of a later week follow functions that have drifted, each by its own random walk:

    f(week) = sqrt(1 - drift) * f(week - 1) + sqrt(drift) * a new function

so a function keeps its variance, and has the correlation (1 - drift)^(weeks / 2) with what it was.
"""

import dataclasses
import functools
import pathlib

import numpy as np

from pfrec import errors
from pfrec.data import splits
from pfrec.data import synthetic_worlds as worlds
from pfrec.data.converters import aliexpress
from pfrec.data.dataset import row_block, writer

CARDINALITIES = worlds.CARDINALITIES
TEST_ROWS = 10_000
CLICK_SCALE = 1.4
CONVERSION_SCALE = 1.2
CLICK_RATE = 0.10
CONVERSION_RATE = 0.20
SMALLEST = 0.1  # rows of the smallest scenario over those of the largest

_CHUNK = 1 << 15
_REFERENCE_ROWS = 20_000
_FRACTIONS = (0.875, 0.125, 0.0)

generator = worlds.generator


def generate(
    output: pathlib.Path,
    *,
    scenarios: int = 4,
    rows: int = 40_000,
    seed: int = 0,
    shared: float = 0.5,
    conflict: float = 0.5,
    week: int = 0,
    drift: float = 0.0,
) -> pathlib.Path:
    """Writes a synthetic dataset directory. The same arguments give the same bytes.

    Scenarios are `S1` to `SN`. The train and valid rows of S1 are `rows`; sizes fall geometrically
    to a tenth of that for SN. Every scenario has as many test rows (10,000; at most `rows`, at
    least 200), so that all are measured alike.

    Args:
      output: the dataset directory; must not exist or be empty.
      scenarios: how many.
      rows: train and valid rows of the largest scenario; at least 500, so that the smallest has
        some of each.
      seed: of everything random.
      shared: the part of the signal's variance that all scenarios share, 0 to 1.
      conflict: how much of the signal that conversions have in common with clicks is reversed, 0
        to 1.
      week: of which week the rows are, from 0; each has rows of its own.
      drift: the part of the signal's variance that is another after a week, 0 to 1.

    Returns:
      `output`.

    Raises:
      PfrecError: where an argument is out of range or the output cannot be written.
    """
    _check(scenarios, rows, seed, week)
    for name, value in (("shared", shared), ("conflict", conflict), ("drift", drift)):
        if not 0 <= value <= 1:
            raise errors.PfrecError(f"synthetic data: {name} = {value} is not within 0 and 1")
    names = [f"S{i + 1}" for i in range(scenarios)]
    options = {"scenarios": scenarios, "rows": rows, "shared": shared, "conflict": conflict}
    # Named where they say something, so that data without a week are what they always were.
    options.update({"week": week, "drift": drift} if week else {})
    test_rows = min(TEST_ROWS, max(200, rows))
    with writer.DatasetWriter(
        output,
        aliexpress.schema(CARDINALITIES),
        source_format="synthetic",
        split_seed=seed,
        scenarios=names,
        options=options,
    ) as dataset_writer:
        for i, name in enumerate(names):
            scenario = Scenario.create(seed, i, shared, conflict, week, drift)
            size = round(rows * SMALLEST ** (i / max(scenarios - 1, 1)))
            for part, count in enumerate((size, test_rows)):
                random = generator(seed, 2, i, part, *([week] if week else []))
                searches = part << 40  # test has searches of its own
                for start in range(0, count, _CHUNK):
                    drawn, _ = scenario.draw(
                        random, min(_CHUNK, count - start), first_search=searches
                    )
                    searches = int(drawn.group[-1]) + 1 if drawn.group is not None else searches
                    if part == 1:
                        dataset_writer.add(name, "test", drawn)
                        continue
                    place = splits.split_of(np.arange(start, start + len(drawn)), seed, _FRACTIONS)
                    dataset_writer.add(name, "train", drawn.take(place == 0))
                    dataset_writer.add(name, "valid", drawn.take(place == 1))
    return output


def _check(scenarios: int, rows: int, seed: int, week: int) -> None:
    if scenarios < 1:
        raise errors.PfrecError(f"--synthetic_scenarios={scenarios}: must be at least 1")
    if rows < 500:
        raise errors.PfrecError(
            f"--synthetic_rows={rows}: must be at least 500, so that the smallest scenario has "
            "rows to learn from"
        )
    if seed < 0:
        raise errors.PfrecError(f"--seed={seed}: must not be negative for synthetic data")
    if week < 0:
        raise errors.PfrecError(f"--synthetic_week={week}: must not be negative")


@functools.lru_cache(maxsize=1)
def _common(
    seed: int, week: int, drift: float
) -> "tuple[worlds.Features, tuple[worlds.Drifted, ...]]":
    """Rows of the common world, and the common functions of p, q and r: the same for every
    scenario of a seed and a week.
    """
    reference = worlds.World.create(seed, None).draw(generator(seed, 1), _REFERENCE_ROWS)
    return reference, tuple(
        worlds.Drifted.create((seed, 1, 0, part), reference, week, drift) for part in range(3)
    )


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One scenario's features and labels.

    Attributes:
      world: its features' distribution.
      functions: the common and the own function of each of p, q and r.
      shared: the part of variance of the common ones.
      conflict: as in the module's formula.
      click_bias: b_s.
      conversion_bias: c_s.
    """

    world: worlds.World
    functions: "tuple[tuple[worlds.Drifted, worlds.Drifted], ...]"
    shared: float
    conflict: float
    click_bias: float = 0.0
    conversion_bias: float = 0.0

    @classmethod
    def create(
        cls,
        seed: int,
        scenario: int,
        shared: float,
        conflict: float,
        week: int = 0,
        drift: float = 0.0,
    ) -> "Scenario":
        """The scenario of number `scenario` (from 0); it does not depend on how many there are."""
        reference, common = _common(seed, week, drift)
        functions = tuple(
            (
                shared_by_all,
                worlds.Drifted.create((seed, 1, scenario + 1, part), reference, week, drift),
            )
            for part, shared_by_all in enumerate(common)
        )
        raw = cls(worlds.World.create(seed, scenario), functions, shared, conflict)
        random = generator(seed, 3, scenario)
        clicks, conversions = raw._logits(raw.world.draw(random, _REFERENCE_ROWS))
        rates = np.array([CLICK_RATE, CONVERSION_RATE]) * np.exp(random.normal(0, 0.15, 2))
        click_bias = _bias(clicks, np.ones(len(clicks)), rates[0])
        return dataclasses.replace(
            raw,
            click_bias=click_bias,
            conversion_bias=_bias(conversions, worlds.sigmoid(clicks + click_bias), rates[1]),
        )

    def _logits(self, features: worlds.Features) -> tuple[np.ndarray, np.ndarray]:
        """Scaled u_s and v_s, without biases."""
        p, q, r = (
            np.sqrt(self.shared) * common(features) + np.sqrt(1 - self.shared) * own(features)
            for common, own in self.functions
        )
        clicks = (p + q) / np.sqrt(2)
        conversions = (np.sqrt(1 - self.conflict) * p - np.sqrt(self.conflict) * q + r) / np.sqrt(2)
        return CLICK_SCALE * clicks, CONVERSION_SCALE * conversions

    def draw(
        self, random: np.random.Generator, rows: int, *, first_search: int = 0
    ) -> tuple[row_block.Rows, np.ndarray]:
        """Draws rows, about ten to a search.

        Returns:
          The rows, and the true probabilities of `ctr` and `ctcvr`, float64 [rows, 2]: no model can
          rank better than by these.
        """
        features = self.world.draw(random, rows)
        click_logits, conversion_logits = self._logits(features)
        click = worlds.sigmoid(click_logits + self.click_bias)
        conversion = worlds.sigmoid(conversion_logits + self.conversion_bias)
        clicked = random.random(rows) < click
        converted = clicked & (random.random(rows) < conversion)
        search = first_search + np.cumsum(random.random(rows) < 0.1).astype(np.int64)
        labels = np.stack([clicked, converted], axis=1).astype(np.uint8)
        return row_block.Rows(features.categorical, features.numerical, labels, search), np.stack(
            [click, click * conversion], axis=1
        )


def _bias(logits: np.ndarray, weights: np.ndarray, rate: float) -> float:
    """The bias at which `sigmoid(logits + bias)`, averaged with `weights`, is `rate`;
    by bisection.
    """
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        if np.average(worlds.sigmoid(logits + middle), weights=weights) < rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2
