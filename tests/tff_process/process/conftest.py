"""The context that the pure process runs in."""

import pytest
import tensorflow_federated as tff

from tff_process.runtime import reference_context


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    with reference_context.Worker(tmp_path_factory.mktemp("logs") / "worker.log") as running:
        with tff.framework.get_context_stack().install(running.context()):
            yield
