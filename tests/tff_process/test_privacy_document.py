"""docs/privacy.md says of every algorithm what leaves a scenario, as the policies have it."""

import pathlib

import pytest

from pfrec import groups
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process.algorithms import registry

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "privacy.md"
KINDS = {
    "expert": "experts",
    "expert_task": "task components",
    "gate": "gates",
    "tower": "towers",
    "batch_norm": "batch normalisation",
    "numeric": "projection of numbers",
}


@pytest.fixture(scope="module")
def tagged(schema):
    """The variables of a model that has every kind of group."""
    shape = ModelConfig(
        embedding_dim=2,
        numeric_dim=2,
        experts=2,
        expert_units=(3,),
        tower_units=(3,),
        template="additive",
        rank=1,
    )
    return groups.tag(mmoe.build(schema, shape, 0))


def row(algorithm, schema, tagged):
    """A line of the table: of each kind, whether its groups leave."""
    policy = registry.find(algorithm).build(schema).policy
    cells = []
    for kind in KINDS:
        leaves = {policy.shares(item.group) for item in tagged if item.kind == kind}
        assert len(leaves) == 1, kind
        cells.append("leave" if leaves.pop() else "stay")
    return f"| `{algorithm}` | {' | '.join(cells)} |"


@pytest.mark.parametrize("algorithm", sorted(registry.FEDERATED))
def test_the_line_of_each_algorithm(algorithm, schema, tagged):
    assert row(algorithm, schema, tagged) in DOCUMENT.read_text(encoding="utf-8").splitlines()


def test_tables_follow_their_feature_with_every_algorithm(schema, tagged):
    for algorithm in registry.FEDERATED:
        policy = registry.find(algorithm).build(schema).policy
        assert not policy.shares("embedding/user"), algorithm
        assert policy.shares("embedding/item") == (algorithm != "local"), algorithm


def test_the_table_has_no_other_line():
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    named = [line.split("`")[1] for line in lines if line.startswith("| `")]
    assert named == sorted(registry.FEDERATED)
