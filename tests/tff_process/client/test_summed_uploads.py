"""Uploads for a sum: what leaves, what the server makes of it, and a run with them."""

import dataclasses
import json
import pathlib
import re
import types

import numpy as np
import pytest
import tensorflow as tf

from pfrec import errors
from tests.small_model import SHAPE
from tff_process import plan as plan_lib
from tff_process.algorithms import base, fedavg, registry
from tff_process.client import strategy, summed_uploads, variables, work
from tff_process.process import computations, federation, plan_algorithm
from tff_process.runtime import options, server, summing
from tff_process.sums import fixed_point
from tff_process.training import loop

PLAN = plan_lib.Plan(
    "fedavg", rounds=2, aggregations=2, batch_size=50, model=SHAPE, secure_sums=True
)
TASKS = ("click", "buy")
LAYOUT = variables.ModelVariables(
    (
        variables.VariableSpec("dense/w", "expert", "expert/0", "0", (2,), True, variables.COMMON),
        variables.VariableSpec(
            "tower/b", "tower", "tower/buy", "buy", (1,), True, variables.COMMON
        ),
        variables.VariableSpec(
            "table", "embedding", "embedding/item", "item", (3, 2), True, variables.COMMON
        ),
    )
)
BEFORE = {
    "dense/w": np.array([1.0, 2.0], np.float32),
    "tower/b": np.array([0.5], np.float32),
    "table": np.zeros([3, 2], np.float32),
}


def left(examples, serves, **values):
    done = types.SimpleNamespace(
        examples=tf.constant(examples, tf.float32),
        upload={name: tf.constant(values.get(name, BEFORE[name])) for name in BEFORE},
    )
    made = summed_uploads.encoded(LAYOUT, TASKS, done, BEFORE, tf.constant(serves, tf.float32))
    return {name: value.numpy() for name, value in made.items()}


def test_by_hand():
    one = left(
        10.0,
        [1.0, 0.0],
        **{
            "dense/w": np.array([1.5, 2.0], np.float32),
            "tower/b": np.array([7.0], np.float32),
            "table": np.array([[0, 0], [0, 1], [0, 0]], np.float32),
        },
    )
    other = left(
        30.0,
        [1.0, 1.0],
        **{
            "tower/b": np.array([1.5], np.float32),
            "table": np.array([[2, 0], [0, 3], [0, 0]], np.float32),
        },
    )
    assert {name: value.shape for name, value in one.items()} == summed_uploads.shapes(LAYOUT)
    assert {value.dtype for value in one.values()} == {np.dtype(np.int64)}
    np.testing.assert_array_equal(one["dense/w"], [5 * 2**24, 0])
    np.testing.assert_array_equal(one["weight/table"], [0, 2**24, 0])
    assert one["weight/task/buy"] == [0]
    assert one["tower/b"] == [0]
    total = {name: fixed_point.added([one[name], other[name]]) for name in one}
    mean = summed_uploads.report_of(LAYOUT, TASKS, total, BEFORE)
    assert mean["examples"] == 40.0
    np.testing.assert_array_equal(mean["serves"], [1.0, 1.0])
    np.testing.assert_array_equal(mean["values"]["dense/w"], [1.125, 2.0])
    np.testing.assert_array_equal(mean["values"]["tower/b"], [1.5])
    np.testing.assert_array_equal(mean["values"]["table"], [[2, 0], [0, 2], [0, 0]])


def test_the_mean_is_that_of_the_values_to_the_stated_error():
    draw = np.random.default_rng(0)
    rows = [100.0, 20.0, 7.0]
    trained = [
        {name: np.float32(value + draw.normal(size=value.shape)) for name, value in BEFORE.items()}
        for _ in rows
    ]
    sent = [left(n, [1.0, 1.0], **values) for n, values in zip(rows, trained)]
    total = {name: fixed_point.added([one[name] for one in sent]) for name in sent[0]}
    found = summed_uploads.report_of(LAYOUT, TASKS, total, BEFORE)["values"]
    for name, weights in (("dense/w", rows), ("tower/b", rows), ("table", np.ones(3))):
        exact = np.average([np.float64(one[name]) for one in trained], axis=0, weights=weights)
        # And float32, in which values are.
        error = 3 * 2.0**-25 / sum(weights) + np.abs(exact) * 2.0**-24
        assert np.all(np.abs(found[name] - exact) <= error), name


def test_a_change_that_is_not_finite_does_not_leave():
    with pytest.raises(tf.errors.InvalidArgumentError, match="the change of dense/w"):
        left(10.0, [1.0, 1.0], **{"dense/w": np.array([np.nan, 0.0], np.float32)})


def test_a_change_beyond_the_range_is_the_largest():
    far = left(10.0, [1.0, 1.0], **{"dense/w": np.array([1e30, -1e30], np.float32)})
    np.testing.assert_array_equal(far["dense/w"], [2**52, -(2**52)])


@pytest.mark.parametrize("name", ["fedavg", "feddyn"])
def test_a_run_of_sums_comes_to_the_same_and_the_server_sees_no_single_update(
    name, dataset, tmp_path, monkeypatch
):
    """The plain run says no counts of ids either, and has as many aggregations."""
    plain = dataclasses.replace(
        PLAN, algorithm=name, settings=None, secure_sums=False, withhold=("loss", "row_counts")
    )
    hidden = dataclasses.replace(plain, secure_sums=True)
    smallest = federation.Federation(hidden, dataset).aggregation_steps
    plain = dataclasses.replace(plain, aggregations=smallest)
    expected = loop.train(plain, dataset, tmp_path / "plain").run
    reports, seen = [], []
    opened, apply = summing.opened, server.Server.apply

    def noted(layout, tasks, sent, *further):
        reports.append({i: dict(report["values"]) for i, report in sent.items()})
        return opened(layout, tasks, sent, *further)

    def applied(self, sent, stack):
        seen.append(dict(sent))
        return apply(self, sent, stack)

    monkeypatch.setattr(summing, "opened", noted)
    monkeypatch.setattr(server.Server, "apply", applied)
    found = loop.train(hidden, dataset, tmp_path / "hidden").run
    for key, value in expected.load(2).server.items():
        if value.size and value.dtype == np.float32:
            np.testing.assert_allclose(found.load(2).server[key], value, atol=2e-5, err_msg=key)
    assert len(reports) == len(seen) == 2 * smallest
    for sent, given in zip(reports, seen):
        assert len(sent) == 3
        assert len({id(report) for report in given.values()}) == 1
        # Nothing small, as changes are: masks are on all of it.
        for values in sent.values():
            flat = np.concatenate([value.ravel() for value in values.values()])
            assert np.mean(np.abs(np.float64(flat)) < 2.0**56) < 0.05
    manifest = json.loads((found.path / "privacy_manifest.json").read_text(encoding="utf-8"))
    assert manifest["secure_sums"]["scenarios"] == list(dataset.scenarios)
    told = {item["what"]: item for item in manifest["uploads"]}
    for what, value in reports[0][0].items():
        assert told[what]["bytes"] == value.nbytes
        assert "masked" in told[what]["exactness"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"algorithm": "pf_msmtrec"}, "take --pf_coordination=mean"),
        ({"algorithm": "fedamp"}, "single updates"),
        ({"algorithm": "clustered"}, "single updates"),
        ({"algorithm": "local"}, "nothing leaves"),
        ({"algorithm": "pooled_mmoe"}, "nothing is sent"),
        ({"upload_bits": 8}, "one scale"),
        ({"robust": "median"}, "no single update"),
        ({"participation": 0.5}, "single updates follow"),
        ({"init_from": "run"}, "train anew"),
        ({"dp_epsilon": 4.0}, "not there"),
    ],
)
def test_what_needs_more_than_sums_is_refused(changed, told, dataset):
    with pytest.raises(errors.PfrecError, match=told):
        federation.Federation(dataclasses.replace(PLAN, **{"settings": None, **changed}), dataset)


def test_runtimes_and_policies_that_need_more_are_refused(dataset, tmp_path):
    for chosen, told in (
        (options.Options(runtime="reference"), "runtime=reference"),
        (options.Options(on_client_failure="skip"), "stays hidden"),
        (options.Options(max_update_norm=5.0), "single update to judge"),
        (options.Options(clip_updates=True), "no single update to judge"),
    ):
        with pytest.raises(errors.PfrecError, match=told):
            loop.train(PLAN, dataset, tmp_path / told[:5], options=chosen)


def test_of_what_one_scenario_alone_has_there_is_no_sum():
    both, one = np.array([1.0, 1.0]), np.array([1.0, 0.0])
    summing.check(LAYOUT, TASKS, {"nl": both, "fr": both, "es": one}, 1)
    with pytest.raises(errors.PfrecError, match=r"nl alone has labels of buy.*tower/buy=private"):
        summing.check(LAYOUT, TASKS, {"nl": both, "fr": one}, 1)
    with pytest.raises(errors.PfrecError, match="over 1 scenario"):
        summing.check(LAYOUT, TASKS, {"nl": both}, 1)
    with pytest.raises(errors.PfrecError, match="min_clients=3"):
        summing.check(LAYOUT, TASKS, {"nl": both, "fr": both}, 3)


def test_masks_that_do_not_cancel_have_no_sum(dataset):
    made = federation.Federation(PLAN, dataset)
    kind = computations.trace(made.process_spec()).types.sent
    tasks = tuple(task.name for task in dataset.schema.tasks)
    values = {
        name: np.zeros(shape, np.int64)
        for name, shape in summed_uploads.shapes(made.layout).items()
    }
    values["weight/rows"] = fixed_point.encoded(np.array([50.0]))
    told = {"examples": np.float32(0), "serves": np.ones(len(tasks), np.float32)}
    report = {"values": values, **told, "loss": np.float32(0)}
    before = {spec.name: np.zeros(spec.shape, np.float32) for spec in made.layout.uploaded}
    asked = dict.fromkeys(range(3), types.SimpleNamespace(least=50, most=50))

    def opened(own):
        masked = {i: {**report, "values": own(i)} for i in range(3)}
        return summing.opened(made.layout, tasks, masked, kind, before, asked, dataset.scenarios)

    one, other = (summing.SimulatedMasks(seed, dataset.scenarios) for seed in (0, 1))
    assert opened(lambda i: one.masked(i, values, 4))[0]["examples"] == 50.0
    for wrong in (
        lambda i: one.masked(i, values, 4 + (i == 2)),
        lambda i: (one if i else other).masked(i, values, 4),
        lambda i: one.masked(i, values, 4) if i else values,
    ):
        with pytest.raises(errors.PfrecError, match="its masks do not cancel"):
            opened(wrong)
    short = {**values, "weight/rows": np.zeros(2, np.int64)}
    with pytest.raises(errors.PfrecError, match=f"client {dataset.scenarios[1]}: .*weight/rows"):
        opened(lambda i: short if i == 1 else values)


def test_the_document_lists_the_algorithms_of_means(dataset):
    """And `local`, whose server has none because nothing leaves."""
    text = (pathlib.Path(__file__).parents[3] / "docs" / "secure_sums.md").read_text("utf-8")
    goes, refused = text.partition("It goes with")[2].split("An\nalgorithm of your own", 1)
    known = {
        name: base.needs_means_alone(made.build(dataset.schema))
        for name, made in registry.FEDERATED.items()
        if registry.is_own(name) and name != "local"
    }
    assert {name for name, alone in known.items() if alone} == set(re.findall(r"`(\w+)`", goes))
    for name, alone in known.items():
        assert alone or f"`{name}`" in refused.partition("## ")[0], name


def test_servers_of_other_algorithms_are_not_taken_for_one_of_means(dataset):
    """Whoever makes an algorithm of FedAvg's with a server of its own marks that itself."""
    made = fedavg.fedavg(dataset.schema)
    assert base.needs_means_alone(made)
    other = dataclasses.replace(made, aggregate=lambda *arguments: fedavg.aggregate(*arguments))
    assert not base.needs_means_alone(other)
    plan = plan_lib.Plan(other, secure_sums=True)
    with pytest.raises(errors.PfrecError, match="where that is all, mark its `aggregate` by base"):
        plan_algorithm.of(plan, dataset.schema, 1.0)
    marked = dataclasses.replace(other, aggregate=base.of_means(other.aggregate))
    asked = dataclasses.replace(plan, algorithm=marked)
    assert plan_algorithm.of(asked, dataset.schema, 1.0).name == "fedavg"
    with pytest.raises(errors.PfrecError, match="its server makes each client's values of single"):
        plan_algorithm.of(plan_lib.Plan("fedamp", secure_sums=True), dataset.schema, 1.0)


def test_a_client_says_its_rows_in_the_sum_alone():
    class Inner(strategy.Strategy):
        def train(self, model, inputs):
            upload = {"w": inputs.incoming["w"] + 1.0}
            return work.ClientRound({}, upload, tf.constant(37.0), tf.zeros([]))

    spec = variables.VariableSpec("w", "expert", "e", "0", (1,), True, variables.COMMON)
    layout = variables.ModelVariables((spec,))
    told = {"serves": tf.ones([1])}
    inputs = work.ClientInputs(layout, work.TrainingSettings(), {"w": tf.zeros([1])}, {}, {}, told)
    done = summed_uploads.SummedUploads(Inner(), ("click",)).train(None, inputs)
    assert float(done.examples) == 0.0
    assert set(done.upload) == {"w", summed_uploads.ROWS}
    for value in done.upload.values():
        np.testing.assert_array_equal(value, [37 << 24])
