"""Rows of tables go by what their ids stand for."""

import numpy as np
import pytest

from pfrec.data import schema
from tff_process.process import row_maps

FRESH = row_maps.FRESH


def feature(cardinality, encoding, vocabulary=()):
    return schema.Categorical("item", cardinality, "private", encoding, vocabulary)


@pytest.mark.parametrize("encoding", ["vocabulary", "local_vocabulary"])
def test_ids_of_a_vocabulary_are_matched_by_their_text(encoding):
    """Not by their place; a row that no text stands for yet is fresh, and unknown stays unknown."""
    old = feature(4, encoding, ("a", "b", "c"))
    new = feature(6, encoding, ("c", "z", "a", "y"))
    assert row_maps.of_feature(old, new).tolist() == [2, FRESH, 0, FRESH, FRESH, FRESH, 4]
    assert row_maps.new_words(new, row_maps.of_feature(old, new)) == 2


@pytest.mark.parametrize(("before", "now"), [(3, 5), (5, 3)])
def test_ids_that_are_their_own_values_keep_their_rows(before, now):
    rows = row_maps.of_feature(feature(before, "identity"), feature(now, "identity"))
    kept = min(before, now)
    assert rows.tolist() == [*range(kept), *[FRESH] * (now - kept), before]


def test_the_new_table_has_old_rows_and_fresh_ones():
    old = np.array([[1.0], [2.0], [9.0]], np.float32)
    fresh = np.array([[-1.0], [-2.0], [-3.0], [0.0]], np.float32)
    rows = np.array([1, FRESH, 0, 2])
    assert row_maps.taken(old, fresh, rows).ravel().tolist() == [2.0, -2.0, 1.0, 9.0]
