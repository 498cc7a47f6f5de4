"""What is built for an algorithm: only declared fields move from clients to the server, and what
clients run is in order. Both are looked at in the same graphs, which take seconds to trace.
"""

import functools

import pytest

from tests.small_model import TEMPLATED
from tests.tff_process.process import graph_order, moved_values
from tff_process import plan
from tff_process.algorithms import registry
from tff_process.process import computations, federation, iterative


@pytest.fixture(scope="module")
def built(dataset):
    """`algorithm -> (policy, computations, process)`, each made once.

    All evaluate by one model, so that the graph follows from what a client is given and keeps.
    """
    evaluating = {}

    @functools.cache
    def of(algorithm):
        made = federation.Federation(plan.Plan(algorithm, batch_size=50, model=TEMPLATED), dataset)
        traced = computations.trace(made.process_spec())
        given = str(traced.bodies["evaluate_client"].parameters)
        if given not in evaluating:
            evaluating[given] = traced.evaluate_client
        vars(traced)["evaluate_client"] = evaluating[given]  # As a cached property is kept.
        return made.algorithm.policy, traced, iterative.build(traced)

    return of


@pytest.mark.parametrize("algorithm", sorted(registry.FEDERATED))
def test_only_declared_fields_move_from_clients_to_server(built, algorithm):
    """Walks the built computations: every operation that brings a CLIENTS value to SERVER,
    and every tensor it brings.
    """
    policy, _, process = built(algorithm)
    layout = process.layout
    shared = {spec.name for spec in layout.specs if policy.shares(spec.group)}
    allowed = {("values", name) for name in shared} | {
        (spec.name,) for spec in layout.specs if spec.counts_rows
    }
    allowed |= {("examples",), ("serves",), ("loss",), ("metrics",)}
    found = set()
    for computation in (
        process.iterative.initialize,
        process.iterative.next,
        process.count,
        process.evaluate,
    ):
        for kind in moved_values.to_server(computation):
            for path, _ in moved_values.leaves(kind):
                found.add(
                    tuple(
                        name
                        for name in path
                        if name is not None and not str(name).isdigit() and name != "client_id"
                    )
                )
    # What is moved travels with its client's number, the key of the scatter.
    assert {path for path in found if path} == allowed
    private = {spec.name for spec in layout.specs} - shared
    kept = process.iterative.state_type.member
    state_names = {name for path, _ in moved_values.leaves(kept) for name in path}
    assert not state_names & private
    assert not any(str(name).startswith("optimizer/") or name == "secret" for name in state_names)


@pytest.mark.parametrize("algorithm", ["pf_msmtrec", "fedavg"])
def test_what_a_client_may_never_share(built, algorithm):
    _, _, process = built(algorithm)
    joined = {spec.name: spec.join for spec in process.layout.specs}
    for spec in process.layout.specs:
        if spec.group == "embedding/user" or (
            algorithm == "pf_msmtrec" and spec.kind in ("batch_norm", "expert_task")
        ):
            assert joined[spec.name] == "private", spec.name


# One of each kind of client work: the other algorithms' clients run what FedAvg's do. All that an
# algorithm has is traced in TFF for it, the server's work too.
@pytest.mark.parametrize(
    "algorithm",
    [
        "apfl",
        "clustered",
        "ditto",
        "fedala",
        "fedavg",
        "fedavg_finetune",
        "fedbabu",
        "feddyn",
        "fedprox",
        "fedrep",
        "fedrod",
        "mr_mtl",
        "per_fedavg",
        "pf_msmtrec",
        "pfedme",
        "scaffold",
    ],
)
def test_training_is_in_order(built, algorithm):
    _, traced, _ = built(algorithm)
    assert graph_order.unordered(*graph_order.graph_of(traced.train)) == []
