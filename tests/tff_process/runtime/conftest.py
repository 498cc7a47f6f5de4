"""Workers that the trainings of a module use."""

import pytest

from tff_process.runtime import cache, executor, hosts


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Two workers, which all trainings of this module use."""
    log = tmp_path_factory.mktemp("logs")
    made = [hosts.LocalHost(f"worker {i}", log / f"{i}.log", 2, 120.0) for i in range(2)]
    for host in made:
        host.up()
    yield made
    for host in made:
        host.down()


@pytest.fixture(scope="module")
def a_crew():
    made = executor.ClientExecutor(2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def computations():
    """What all trainings of this module trace."""
    return cache.ComputationCache()
