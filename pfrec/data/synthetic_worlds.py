"""What synthetic scenarios are made of: how features are distributed, and random functions of them
that drift.
"""

import dataclasses
from typing import Optional

import numpy as np

from pfrec.data.converters import aliexpress

CARDINALITIES = (38, 2, 30, 5, 12, 3, 24, 8, 18, 2, 34, 4, 10, 6, 20, 15)

_NUMERICAL = len(aliexpress.NUMERICAL)
_FACTORS = 8
_SPARSE = 24  # the last so many numbers are mostly zero


def generator(*key: int) -> np.random.Generator:
    """An independent stream of random numbers per key,
    the first part of which is the user's seed.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


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
class World:
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
    def create(cls, seed: int, scenario: Optional[int]) -> "World":
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
        numerical = np.where(random.random((rows, _NUMERICAL)) < self.density, sigmoid(latent), 0.0)
        return Features(categorical, numerical.astype(np.float32))


@dataclasses.dataclass(frozen=True)
class RandomFunction:
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
    def create(cls, random: np.random.Generator, reference: Features) -> "RandomFunction":
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
class Drifted:
    """A function after some weeks: `sum of parts[i] * functions[i](x)`, of unit variance."""

    parts: "tuple[float, ...]"
    functions: "tuple[RandomFunction, ...]"

    @classmethod
    def create(
        cls, key: "tuple[int, ...]", reference: Features, week: int, drift: float
    ) -> "Drifted":
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
                RandomFunction.create(generator(*key, *([number] if number else [])), reference)
                for number in weeks
            ),
        )

    def __call__(self, features: Features) -> np.ndarray:
        """float64 [rows]."""
        values = [part * f(features) for part, f in zip(self.parts, self.functions) if part]
        return sum(values[1:], values[0])
