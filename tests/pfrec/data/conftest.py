"""What the tests of data share."""

import pytest

from pfrec.data.dataset import shards


@pytest.fixture(scope="module")
def rows_in_source_order():
    """Stores rows as they come, for tests that hold each against the row of the raw file at its
    place; `test_shards.py` has the order.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards.ShardWriter, "_shuffled", lambda self, shard: self._piece(shard, 0))
        yield
