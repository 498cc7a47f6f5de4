"""A run with the names that an earlier pfrec gave the server's state goes on all the same."""

import dataclasses
import shutil

import numpy as np
import pytest

from pfrec import checkpoint, errors, run_directory
from tests import run_records
from tests.small_model import SHAPE
from tff_process import plan as plan_lib
from tff_process.process import joining
from tff_process.training import beginning, loop

PLAN = plan_lib.Plan("pf_msmtrec", rounds=1, aggregations=1, batch_size=50, model=SHAPE)


def test_a_run_of_former_names_is_read_and_resumed(dataset, tmp_path):
    today, former = tmp_path / "today", tmp_path / "former"
    loop.train(PLAN, dataset, today)
    shutil.copytree(today, former)
    state = former / "server" / "round_00001"
    server, meta = checkpoint.load(state)
    renamed = {name.replace("consensus/", "template/"): value for name, value in server.items()}
    assert {"template", "extra"} <= {name.split("/")[0] for name in renamed}
    assert any(name.startswith("extra/trained/template/") for name in renamed)
    checkpoint.save(state, renamed, meta)

    initial = {name[len("consensus/") :]: value for name, value in server.items()}
    started = [joining.first_values(run, initial) for run in (today, former)]
    assert started[0]
    np.testing.assert_equal(started[1], started[0])

    for run in (today, former):
        loop.train(dataclasses.replace(PLAN, rounds=2), dataset, run, resume=True)
    one, other = (run_directory.open_run(run).load(2).server for run in (today, former))
    np.testing.assert_equal(dict(other), dict(one))
    assert (former / "metrics.csv").read_bytes() == (today / "metrics.csv").read_bytes()


def test_a_run_from_before_weights_decayed_says_how_to_go_on(dataset, tmp_path):
    """The same flags would not do: the default is another."""
    record = PLAN.to_json()
    del record["weight_decay"]
    run_records.write(tmp_path, {"plan": record})
    with pytest.raises(errors.PfrecError, match="resume with --weight_decay=0, as all were then"):
        beginning.check_same(tmp_path, PLAN, dataset)
    record["weight_decay"] = 10.0
    run_records.write(tmp_path, {"plan": record})
    with pytest.raises(errors.PfrecError, match="resume with --weight_decay=10, or choose"):
        beginning.check_same(tmp_path, PLAN, dataset)
    other = dataclasses.replace(PLAN, weight_decay=20.0)
    with pytest.raises(errors.PfrecError, match="resume with the same flags and data"):
        beginning.check_same(tmp_path, other, dataset)
