"""Which trainings have one thread within an operation, and that their workers are started so."""

import pathlib
from collections.abc import Mapping
from typing import Any, Optional

import pytest

from pfrec.data import schema as schema_lib
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.runtime import sandbox, threads, worker_process

PAPER = ModelConfig(
    embedding_dim=128, experts=8, expert_units=(512, 256), tower_units=(128, 64), numeric_dim=128
)


def schema_of(features: int, numbers: int, tasks: int = 2) -> schema_lib.Schema:
    return schema_lib.Schema(
        tuple(schema_lib.Categorical(f"c{i}", 20) for i in range(features)),
        tuple(schema_lib.Numerical(f"n{i}") for i in range(numbers)),
        tuple(schema_lib.Task(f"t{i}", f"label{i}") for i in range(tasks)),
    )


def plan_of(model: ModelConfig, batch: int) -> plan_lib.Plan:
    return plan_lib.Plan("fedavg", batch_size=batch, model=model)


def test_multiply_adds_are_those_of_the_dense_layers() -> None:
    model = ModelConfig(
        embedding_dim=3, numeric_dim=2, experts=5, expert_units=(7, 4), tower_units=(6,)
    )
    inputs = 2 * 3 + 2
    projected, experts = 9 * 2, 5 * (inputs * 7 + 7 * 4)
    gates, towers = 3 * inputs * 5, 3 * (4 * 6 + 6 * 1)
    found = threads.multiply_adds(plan_of(model, 10), schema_of(2, 9, tasks=3))
    assert found == 10 * (projected + experts + gates + towers)


def test_a_vector_counts_with_all_its_numbers() -> None:
    one = schema_of(2, 1, tasks=1)
    vector = schema_lib.Schema(
        one.categorical, (schema_lib.Numerical("n0", values=9, separator=" "),), one.tasks
    )
    plan = plan_of(ModelConfig(), 1)
    assert threads.multiply_adds(plan, vector) == threads.multiply_adds(plan, schema_of(2, 9, 1))


def test_numbers_that_pass_on_as_they_are_have_no_projection() -> None:
    model = ModelConfig(
        embedding_dim=3, numeric_dim=0, experts=1, expert_units=(7,), tower_units=()
    )
    assert threads.multiply_adds(plan_of(model, 1), schema_of(2, 9, tasks=1)) == 15 * 7 + 15 + 7


@pytest.mark.parametrize("batch", [32, 256])
def test_the_default_shape_has_one_thread_within_an_operation(batch: int) -> None:
    assert threads.within_operations(plan_of(ModelConfig(), batch), schema_of(16, 63)) == 1


def test_a_large_step_has_all() -> None:
    assert threads.within_operations(plan_of(PAPER, 2048), schema_of(16, 63)) == threads.ALL
    # So has a small model whose batch is large enough.
    assert threads.within_operations(plan_of(ModelConfig(), 8192), schema_of(16, 63)) == threads.ALL


def test_a_silo_goes_by_the_plan_that_it_agreed_to() -> None:
    schema = schema_of(16, 63)
    assert threads.at_silo(plan_of(ModelConfig(), 256), schema) == 1
    assert threads.at_silo(plan_of(PAPER, 2048), schema) == threads.ALL
    assert threads.at_silo(None, schema) == 1


@pytest.mark.parametrize("processors", [1, 2, 64])
def test_the_machine_has_no_say(processors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A silo with many processors comes to what a simulation on two comes to."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(processors)))
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    assert threads.within_operations(plan_of(ModelConfig(), 256), schema_of(16, 63)) == 1


@pytest.mark.parametrize(
    ("confined", "given", "within", "expected"),
    [
        (False, {}, 1, "1"),
        (False, {}, threads.ALL, None),
        (False, {"TF_NUM_INTRAOP_THREADS": "3"}, 1, "3"),
        (True, {}, 1, "1"),
        (True, {"TF_NUM_INTRAOP_THREADS": "3"}, 1, "3"),
    ],
)
def test_a_worker_is_started_with_them_where_the_user_says_nothing(
    confined: bool,
    given: "Mapping[str, str]",
    within: int,
    expected: Optional[str],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a sandbox, as at a silo, and without one, as in a simulation."""
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    limits: Any = None
    if confined:
        if not sandbox.permitted():
            pytest.skip("no Landlock here")
        limits = sandbox.Sandbox(worker_process.program(), [], [tmp_path])
    process = worker_process.WorkerProcess(
        tmp_path / "worker.log", 1, sandbox=limits, threads=within
    )
    try:
        environment = pathlib.Path(f"/proc/{process.pid}/environ").read_text().split("\0")
    finally:
        process.stop()
        if confined:
            limits.close()
    found = dict(entry.split("=", 1) for entry in environment if "=" in entry)
    assert found.get("TF_NUM_INTRAOP_THREADS") == expected
