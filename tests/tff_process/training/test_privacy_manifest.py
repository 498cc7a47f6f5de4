"""What the privacy manifest says of a mechanism in words."""

import dataclasses

from tff_process.privacy import mechanism as mechanism_lib
from tff_process.training import privacy_manifest


def test_a_noisy_selection_of_rows_is_named():
    mechanism = mechanism_lib.of(8.0, 1e-5, 1.0, 100, [1_000], [20])
    plain = privacy_manifest._told(mechanism)
    assert plain == "Gaussian noise on clipped sums over Poisson sampled rows"
    sparse = privacy_manifest._told(dataclasses.replace(mechanism, sparse_rows=50_000))
    assert sparse.startswith(plain)
    assert "tables of 50000 rows or more" in sparse
    assert "threshold" in sparse
