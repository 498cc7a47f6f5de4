"""Shared small data and settings."""

import atexit
import os
import pathlib
import shutil
import signal
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PFREC_CACHE" not in os.environ:
    # What one test, worker of pytest or command traced serves the others, and nothing that was
    # traced before serves any.
    os.environ["PFREC_CACHE"] = tempfile.mkdtemp(prefix="pfrec-tests-")
    atexit.register(shutil.rmtree, os.environ["PFREC_CACHE"], ignore_errors=True)
    # SIGTERM ends the tests as Ctrl-C does, so that this and what AutoGraph writes do not stay.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

import numpy as np
import pytest

from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import row_block, shards, writer
from tests import quick_protocols
from tests.pfrec.data import rows_back

quick_protocols.install()

_TESTS = pathlib.Path(__file__).parent
# What trains, exports, runs whole commands or reads whole logs; `make test-quick` leaves it out.
_SLOW = (
    "export/checks",
    "export/commands",
    "export/exporting",
    "export/graph",
    "export/publishing/test_poller.py",
    "export/scoring/test_evaluate.py",
    "export/scoring/test_membership.py",
    "integration",
    "pfrec/commands/test_convert.py",
    "pfrec/data/conversion/test_run.py",
    "pfrec/data/test_cases.py",
    "pfrec/data/test_public_bytes.py",
    "pfrec/models/pooled",
    "tff_process/algorithms",
    "tff_process/client/test_small_uploads.py",
    "tff_process/comparison/test_runs.py",
    "tff_process/commands",
    "tff_process/privacy/test_audit.py",
    "tff_process/privacy/test_client.py",
    "tff_process/privacy/test_home_model.py",
    "tff_process/privacy/test_row_selection.py",
    "tff_process/process",
    "tff_process/runtime",
    "tff_process/silos",
    "tff_process/test_heap.py",
    "tff_process/training",
)


# Files that take longest, in processor seconds: they begin first, so that no worker of pytest ends
# minutes after the other. `make test` keeps this order.
_LONGEST = (
    "tff_process/process/test_every_algorithm.py",
    "integration/test_agreement.py",
    "test_examples.py",
    "integration/test_main_job.py",
    "tff_process/privacy/test_home_model.py",
    "tff_process/algorithms/test_client_strategies.py",
    "export/checks/test_version.py",
    "integration/test_silo_faults.py",
    "tff_process/training/test_continuing.py",
    "tff_process/training/test_private_runs.py",
    "integration/test_tutorial.py",
    "integration/test_secure_sums.py",
    "tff_process/algorithms/test_corrected_clients.py",
    "tff_process/training/test_bound_runs.py",
    "export/publishing/test_poller.py",
    "integration/test_random_kills.py",
    "integration/test_silos.py",
    "integration/test_after_training.py",
    "test_public_face.py",
)


def pytest_collection_modifyitems(items: "list[pytest.Item]") -> None:
    """Marks the tests of `_SLOW` as slow, and has those of `_LONGEST` begin, then these."""

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(_TESTS).as_posix()
        if name in _LONGEST:
            return _LONGEST.index(name)
        return len(_LONGEST) + (not name.startswith(_SLOW))

    for item in items:
        if item.path.relative_to(_TESTS).as_posix().startswith(_SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=place)


SCENARIO_ROWS = {"nl": 300, "es": 200, "fr": 100}


@pytest.fixture(scope="session")
def schema() -> schema_lib.Schema:
    """Two categorical features, one of them shared, two numbers, two tasks and a group."""
    return schema_lib.Schema(
        categorical=(
            schema_lib.Categorical("user", 12),
            schema_lib.Categorical("item", 9, "shared"),
        ),
        numerical=(schema_lib.Numerical("price"), schema_lib.Numerical("age")),
        tasks=(schema_lib.Task("ctr", "click"), schema_lib.Task("cvr", "conversion", given="ctr")),
        group="session",
    )


def random_rows(schema: schema_lib.Schema, rows: int, seed: int) -> row_block.Rows:
    """Rows with a signal in them: the click depends on the item and the price."""
    rng = np.random.default_rng(seed)
    categorical = np.stack(
        [rng.integers(0, f.cardinality, rows) for f in schema.categorical], 1
    ).astype(np.int32)
    numerical = rng.normal(size=(rows, len(schema.numerical))).astype(np.float32)
    click = (
        rng.random(rows) < 1 / (1 + np.exp(-(categorical[:, 1] - 4) / 2 - numerical[:, 0]))
    ).astype(np.uint8)
    conversion = np.where(click == 1, rng.random(rows) < 0.4, row_block.UNOBSERVED).astype(np.uint8)
    return row_block.Rows(
        categorical, numerical, np.stack([click, conversion], 1), rng.integers(0, 20, rows)
    )


@pytest.fixture(scope="session")
def dataset(
    schema: schema_lib.Schema, tmp_path_factory: pytest.TempPathFactory
) -> dataset_lib.Dataset:
    """Three small scenarios."""
    path = tmp_path_factory.mktemp("data") / "small"
    with writer.DatasetWriter(path, schema, source_format="test", split_seed=0) as target:
        for number, (scenario, rows) in enumerate(SCENARIO_ROWS.items()):
            for offset, split in enumerate(("train", "valid", "test")):
                count = rows if split == "train" else 80
                target.add(scenario, split, random_rows(schema, count, 10 * number + offset))
    return dataset_lib.Dataset.open(pathlib.Path(path))


@pytest.fixture(scope="module")
def rows_in_source_order():
    """Stores rows as they come, for tests that hold each against the row of the raw file at its
    place; `test_shards.py` has the order.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards.ShardWriter, "_shuffled", rows_back.as_they_come)
        yield
