"""What several algorithms' clients are held against."""

import pytest

from tests.tff_process import one_weight
from tests.tff_process.algorithms import eager
from tff_process.algorithms import fedavg, local


@pytest.fixture(scope="session")
def one_batch(tmp_path_factory):
    """One client of one batch: three rows of x = 1 with label 1,
    so the gradient at w is sigmoid(w) - 1.
    """
    return one_weight.log(tmp_path_factory.mktemp("data") / "one", {"a": (3, 1)})


@pytest.fixture(scope="session")
def fedavg_rounds(dataset):
    """What FedAvg's client does in `eager.trajectory`."""
    return eager.trajectory(fedavg.fedavg(dataset.schema), dataset, eager.shifted)[1]


@pytest.fixture(scope="session")
def local_rounds(dataset):
    """What local training does there."""
    return eager.trajectory(local.local(dataset.schema), dataset, eager.shifted)[1]
