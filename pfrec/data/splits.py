"""Splits rows into train, valid and test by a seeded hash of the row number.

A row's split depends on its number and the seed alone: not on the size of the chunks a file is read
in, nor on the rows around it.
"""

from collections.abc import Sequence

import numpy as np

SPLITS = ("train", "valid", "test")


def splitmix64(values: np.ndarray) -> np.ndarray:
    """The SplitMix64 finaliser (Steele, Lea and Flood, OOPSLA 2014), element by element.

    Args:
      values: uint64 of any shape.

    Returns:
      uint64 of the same shape; a bijection of the 64-bit integers.
    """
    with np.errstate(over="ignore"):
        mixed = values + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def uniform_of(row_number: np.ndarray, seed: int) -> np.ndarray:
    """A number in [0, 1) per row, a function of (row number, seed).

    Args:
      row_number: int64 [rows].
      seed: any integer.

    Returns:
      float64 [rows], with 53 random bits each.
    """
    key = splitmix64(np.array([seed % (1 << 64)], np.uint64))
    mixed = splitmix64(np.asarray(row_number, np.int64).view(np.uint64) ^ key)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def split_of(row_number: np.ndarray, seed: int, fractions: Sequence[float]) -> np.ndarray:
    """The split of each row.

    Args:
      row_number: int64 [rows], the row's number in its source.
      seed: the split seed.
      fractions: the parts of train, valid and test, which sum to 1.

    Returns:
      int8 [rows]: 0 train, 1 valid, 2 test (the places in `SPLITS`).

    Raises:
      ValueError: where the fractions are negative or do not sum to 1.
    """
    if len(fractions) != len(SPLITS) or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions {tuple(fractions)} are not three parts of 1")
    uniform = uniform_of(row_number, seed)
    _, valid, test = fractions
    # Counted from the top, so that a fraction of exactly 0 gets no row at all.
    return (uniform >= 1.0 - test - valid).astype(np.int8) + (uniform >= 1.0 - test).astype(np.int8)
