"""Synthetic data in the processed AliExpress shape, with a known amount of shared,
scenario-specific and conflicting signal.

A row x has 16 categorical values and 63 numbers (see `_World.draw`). Click and conversion of
scenario s are drawn from

    u_s(x) = (p_s(x) + q_s(x)) / sqrt(2)
    v_s(x) = (sqrt(1 - conflict) * p_s(x) - sqrt(conflict) * q_s(x) + r_s(x)) / sqrt(2)
    P(click | x) = sigmoid(CLICK_SCALE * u_s(x) + b_s)
    P(conversion | click, x) = sigmoid(CONVERSION_SCALE * v_s(x) + c_s)

so p helps both tasks, q helps clicks and harms conversions, r concerns conversions alone, and u and
v have unit variance and the correlation (sqrt(1 - conflict) - sqrt(conflict)) / 2. Each of p, q and
r is partly the same function in all scenarios:

    p_s(x) = sqrt(shared) * f_common(x) + sqrt(1 - shared) * f_s(x)

Every f is a random function of its own choice of features with zero mean and unit variance (see
`_Function`). The biases b_s and c_s give a scenario about 10% clicks and 20% conversions among
them, varied a little by scenario, so `ctcvr` has about 2%. Scenarios also differ in how features
are distributed.

Rows of a later week follow functions that have drifted, each by its own random walk:

    f(week) = sqrt(1 - drift) * f(week - 1) + sqrt(drift) * a new function

so a function keeps its variance, and has the correlation (1 - drift)^(weeks / 2) with what it was.
"""

import dataclasses
import functools
import pathlib
from typing import Optional

import numpy as np

from pfrec import errors
from pfrec.data import splits
from pfrec.data.converters import aliexpress
from pfrec.data.dataset import row_block, writer

CARDINALITIES = (38, 2, 30, 5, 12, 3, 24, 8, 18, 2, 34, 4, 10, 6, 20, 15)
TEST_ROWS = 10_000
CLICK_SCALE = 1.4
CONVERSION_SCALE = 1.2
CLICK_RATE = 0.10
CONVERSION_RATE = 0.20
SMALLEST = 0.1  # rows of the smallest scenario over those of the largest

_NUMERICAL = len(aliexpress.NUMERICAL)
_FACTORS = 8
_SPARSE = 24  # the last so many numbers are mostly zero
_CHUNK = 1 << 15
_REFERENCE_ROWS = 20_000
_FRACTIONS = (0.875, 0.125, 0.0)


def generator(*key: int) -> np.random.Generator:
    """An independent stream of random numbers per key,
    the first part of which is the user's seed.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


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


@dataclasses.dataclass(frozen=True)
class Features:
    """Features before they are rows.

    Attributes:
      categorical: int32 [rows, 16].
      numerical: float32 [rows, 63], 0 to 1.
    """

    categorical: np.ndarray
    numerical: np.ndarray


@dataclasses.dataclass(frozen=True)
class _World:
    """How features are distributed in one scenario, or, without a scenario's shift, on the whole.

    Attributes:
      cumulative: per categorical column, the cumulative probabilities of its values.
      loadings: float64 [factors, 63], how numbers follow the row's latent factors.
      offset: float64 [63], before the sigmoid.
      density: float64 [63], the part of nonzero values of each number.
    """

    cumulative: "tuple[np.ndarray, ...]"
    loadings: np.ndarray
    offset: np.ndarray
    density: np.ndarray

    @classmethod
    def create(cls, seed: int, scenario: Optional[int]) -> "_World":
        """The common world, or that of a scenario: its own shift on top."""
        random = generator(seed, 0)
        logits = [random.normal(0, 1.0, size) for size in CARDINALITIES]
        loadings = random.normal(0, 1 / np.sqrt(_FACTORS), (_FACTORS, _NUMERICAL))
        offset = random.normal(-0.5, 0.7, _NUMERICAL)
        density = np.ones(_NUMERICAL)
        density[-_SPARSE:] = random.uniform(0.05, 0.5, _SPARSE)
        if scenario is not None:
            shift = generator(seed, 0, scenario + 1)
            logits = [values + shift.normal(0, 0.5, len(values)) for values in logits]
            offset = offset + shift.normal(0, 0.3, _NUMERICAL)
        return cls(
            tuple(np.cumsum(np.exp(v) / np.exp(v).sum()) for v in logits), loadings, offset, density
        )

    def draw(self, random: np.random.Generator, rows: int) -> Features:
        """Categorical values are independent;
        numbers are `sigmoid(offset + factors @ loadings + noise)`, or zero.
        """
        categorical = np.empty((rows, len(CARDINALITIES)), np.int32)
        for i, cumulative in enumerate(self.cumulative):
            # The last boundary is left out: rounding may leave it below 1.
            categorical[:, i] = np.searchsorted(cumulative[:-1], random.random(rows), side="right")
        latent = (
            random.normal(size=(rows, _FACTORS)) @ self.loadings
            + self.offset
            + random.normal(0, 0.7, (rows, _NUMERICAL))
        )
        numerical = np.where(
            random.random((rows, _NUMERICAL)) < self.density, _sigmoid(latent), 0.0
        )
        return Features(categorical, numerical.astype(np.float32))


@dataclasses.dataclass(frozen=True)
class _Function:
    """A random function of features with zero mean and unit variance over the common world.

    f(x) = sqrt(0.45) * [sum over 10 columns j of e_j(x_j)] + sqrt(0.2) * [sum over 5 pairs (j, k)
    of <u_j(x_j), w_k(x_k)>]
         + sqrt(0.35) * [sum over 12 units h of a_h * tanh(B_h . z + b_h)]

    where e, u and w are random vectors per value, z are 16 of the numbers, scaled, and each bracket
    is standardised.
    """

    effects: "tuple[tuple[int, np.ndarray], ...]"
    pairs: "tuple[tuple[int, np.ndarray, int, np.ndarray], ...]"
    columns: np.ndarray
    hidden: np.ndarray
    bias: np.ndarray
    output: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def create(cls, random: np.random.Generator, reference: Features) -> "_Function":
        """Draws a function and standardises it over `reference`."""
        effects = tuple(
            (int(j), random.normal(size=CARDINALITIES[j]))
            for j in random.permutation(len(CARDINALITIES))[:10]
        )
        pairs = []
        for _ in range(5):
            j, k = (int(column) for column in random.permutation(len(CARDINALITIES))[:2])
            pairs.append(
                (
                    j,
                    random.normal(size=(CARDINALITIES[j], 2)),
                    k,
                    random.normal(size=(CARDINALITIES[k], 2)),
                )
            )
        raw = cls(
            effects=effects,
            pairs=tuple(pairs),
            columns=random.permutation(_NUMERICAL)[:16],
            hidden=random.normal(0, 1 / 4, (16, 12)),
            bias=random.normal(0, 0.5, 12),
            output=random.normal(size=12),
            mean=np.zeros(3),
            deviation=np.ones(3),
        )
        parts = raw._parts(reference)
        unit = dataclasses.replace(raw, mean=parts.mean(axis=1), deviation=parts.std(axis=1))
        # Brackets are nearly uncorrelated, not quite: the rest of the way to unit variance.
        return dataclasses.replace(unit, deviation=unit.deviation * unit._joined(parts).std())

    def _parts(self, features: Features) -> np.ndarray:
        """The three brackets, float64 [3, rows]."""
        x = features.categorical
        effects = sum(effect[x[:, j]] for j, effect in self.effects)
        pairs = sum(
            (left[x[:, j]] * right[x[:, k]]).sum(axis=1) for j, left, k, right in self.pairs
        )
        z = 4.0 * (features.numerical[:, self.columns].astype(np.float64) - 0.4)
        smooth = np.tanh(z @ self.hidden + self.bias) @ self.output
        return np.stack([effects, pairs, smooth])

    def __call__(self, features: Features) -> np.ndarray:
        """float64 [rows]."""
        return self._joined(self._parts(features))

    def _joined(self, parts: np.ndarray) -> np.ndarray:
        standard = (parts - self.mean[:, None]) / self.deviation[:, None]
        return np.sqrt([0.45, 0.2, 0.35]) @ standard


@dataclasses.dataclass(frozen=True)
class _Drifted:
    """A function after some weeks: `sum of parts[i] * functions[i](x)`, of unit variance."""

    parts: "tuple[float, ...]"
    functions: "tuple[_Function, ...]"

    @classmethod
    def create(
        cls, key: "tuple[int, ...]", reference: Features, week: int, drift: float
    ) -> "_Drifted":
        """The function of a key after `week` weeks; it is what it was a week ago but for `drift`
        of its variance, whichever week is asked for.
        """
        weeks = range(week + 1) if drift else range(1)
        return cls(
            tuple(
                float((1.0 - drift) ** ((weeks[-1] - number) / 2) * np.sqrt(drift if number else 1))
                for number in weeks
            ),
            tuple(
                _Function.create(generator(*key, *([number] if number else [])), reference)
                for number in weeks
            ),
        )

    def __call__(self, features: Features) -> np.ndarray:
        """float64 [rows]."""
        values = [part * f(features) for part, f in zip(self.parts, self.functions) if part]
        return sum(values[1:], values[0])


@functools.lru_cache(maxsize=1)
def _common(seed: int, week: int, drift: float) -> "tuple[Features, tuple[_Drifted, ...]]":
    """Rows of the common world, and the common functions of p, q and r: the same for every
    scenario of a seed and a week.
    """
    reference = _World.create(seed, None).draw(generator(seed, 1), _REFERENCE_ROWS)
    return reference, tuple(
        _Drifted.create((seed, 1, 0, part), reference, week, drift) for part in range(3)
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

    world: _World
    functions: "tuple[tuple[_Drifted, _Drifted], ...]"
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
                _Drifted.create((seed, 1, scenario + 1, part), reference, week, drift),
            )
            for part, shared_by_all in enumerate(common)
        )
        raw = cls(_World.create(seed, scenario), functions, shared, conflict)
        random = generator(seed, 3, scenario)
        clicks, conversions = raw._logits(raw.world.draw(random, _REFERENCE_ROWS))
        rates = np.array([CLICK_RATE, CONVERSION_RATE]) * np.exp(random.normal(0, 0.15, 2))
        click_bias = _bias(clicks, np.ones(len(clicks)), rates[0])
        return dataclasses.replace(
            raw,
            click_bias=click_bias,
            conversion_bias=_bias(conversions, _sigmoid(clicks + click_bias), rates[1]),
        )

    def _logits(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
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
        click = _sigmoid(click_logits + self.click_bias)
        conversion = _sigmoid(conversion_logits + self.conversion_bias)
        clicked = random.random(rows) < click
        converted = clicked & (random.random(rows) < conversion)
        search = first_search + np.cumsum(random.random(rows) < 0.1).astype(np.int64)
        labels = np.stack([clicked, converted], axis=1).astype(np.uint8)
        return row_block.Rows(features.categorical, features.numerical, labels, search), np.stack(
            [click, click * conversion], axis=1
        )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _bias(logits: np.ndarray, weights: np.ndarray, rate: float) -> float:
    """The bias at which `sigmoid(logits + bias)`, averaged with `weights`, is `rate`;
    by bisection.
    """
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        if np.average(_sigmoid(logits + middle), weights=weights) < rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2
