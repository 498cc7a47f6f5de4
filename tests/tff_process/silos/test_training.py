"""A training over silos."""

import types

import pytest

from pfrec import errors
from tff_process.silos import directory, training


def test_more_rounds_than_a_silo_keeps_are_refused_before_the_first_one():
    agreed, other = types.SimpleNamespace(agreed="abc"), types.SimpleNamespace(agreed=None)
    training._require_room("the silo of nl", agreed, directory.MOST_KEPT)
    training._require_room("the silo of nl", other, 1_000)
    with pytest.raises(errors.PfrecError, match=r"--keep_rounds=1000: .* keep at most 200 rounds"):
        training._require_room("the silo of nl", agreed, 1_000)
