"""What a training that goes on takes over of the server's state."""

import types

import numpy as np

from pfrec.data import schema as schema_lib
from tff_process.algorithms import base
from tff_process.process import carrying

SCHEMA = schema_lib.Schema(
    (schema_lib.Categorical("item", 3, policy="shared"),), (), (schema_lib.Task("ctr", "click"),)
)


def test_what_an_algorithm_counts_goes_on_also_with_other_scenarios():
    """And begins where the finished run did not count it."""
    client = types.SimpleNamespace(optimizers=lambda layout: {})
    carry = carrying.Carrying(
        types.SimpleNamespace(
            dataset=types.SimpleNamespace(scenarios=("nl", "new")),
            layout=types.SimpleNamespace(specs=()),
            algorithm=types.SimpleNamespace(client=client),
        )
    )
    meaning = carrying.Meaning(SCHEMA, SCHEMA, "run")
    rows, sharing = f"extra/{base.ROWS_GONE}", f"extra/{base.SHARING}"
    fresh = {rows: np.float32(0.0), sharing: np.float32(1.0), "round": np.int32(0)}
    old = {rows: np.float32(300.0), "round": np.int32(7)}
    assert carry.server(old, ("nl", "fr", "es"), fresh, meaning) == {**fresh, rows: 300.0}
