"""What is wrong with an algorithm of a user's own is said in one line, before it trains."""

import collections
import dataclasses

import pytest
import tensorflow as tf

from pfrec import errors
from tests import small_model
from tff_process import plan
from tff_process.algorithms import fedavg
from tff_process.client import strategy, variables, work
from tff_process.training import loop


def _trained(dataset, path, **own):
    algorithm = dataclasses.replace(fedavg.fedavg(dataset.schema), name="mine", **own)
    asked = plan.Plan(algorithm, rounds=1, aggregations=1, batch_size=50, model=small_model.SHAPE)
    return loop.train(asked, dataset, path)


def _aggregate(change):
    def aggregate(layout, tasks, state, reports):
        return change(*fedavg.aggregate(layout, tasks, state, reports))

    return aggregate


def _common(change):
    """An aggregate whose first common value is changed."""

    def changed(state, diagnostics):
        common = collections.OrderedDict(state.common)
        name = next(iter(common))
        common[name] = change(common[name])
        return dataclasses.replace(state, common=common), diagnostics

    return _aggregate(changed)


@pytest.mark.parametrize(
    ("aggregate", "message"),
    [
        (
            _aggregate(lambda state, _: state),
            "algorithm mine: its aggregate returns ServerState; return a ServerState",
        ),
        (_aggregate(lambda *_: None), "algorithm mine: its aggregate returns NoneType; return"),
        (
            _aggregate(lambda state, said: (state, said, said)),
            "algorithm mine: .* returns ServerState and .* and ",
        ),
        (
            _aggregate(lambda state, said: (vars(state), said)),
            "algorithm mine: its aggregate returns dict and Ordered",
        ),
        (
            _aggregate(lambda state, _: (state, None)),
            "algorithm mine: .* returns ServerState and NoneType; return",
        ),
        (_aggregate(lambda state, _: (state, {"a": tf.constant("x")})), "'a' is string; give num"),
        (
            _aggregate(lambda state, said: (dataclasses.replace(state, common=None), said)),
            "`common` of the state that algorithm mine's aggregate returns is a NoneType; give val",
        ),
        (
            _common(lambda value: value[tf.newaxis]),
            r"`common` of .* returns has '.*' as float32 \(1, .*; it is",
        ),
        (_common(lambda value: object()), "in `common` of .* is a object; give a tensor"),
    ],
)
def test_what_an_aggregate_returns(aggregate, message, dataset, tmp_path):
    with pytest.raises(errors.PfrecError, match=message):
        _trained(dataset, tmp_path / "run", aggregate=aggregate)
    assert not (tmp_path / "run").exists()


@dataclasses.dataclass
class Unhashable(strategy.Strategy):
    """Its dataclass is not frozen."""


def test_kinds_in_a_list_are_taken(dataset):
    plain = fedavg.fedavg(dataset.schema)
    listed = dataclasses.replace(plain, personal_kinds=["expert", "gate"])
    told = dataclasses.replace(plain, personal_kinds=("expert", "gate"))
    assert {plan.Plan(listed): 1}[plan.Plan(told)] == 1


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"policy": {"expert/*": "shared"}}, "policy is a dict; give a sharing.SharingPolicy"),
        ({"personal_kinds": "expert"}, r"personal_kinds is a str; give kinds, as \('expert'|\("),
        ({"personal_kinds": ("experts",)}, "'experts', of which no variable is; kinds are attent"),
        ({"client": strategy.Strategy}, "client is a type; give an object of a class derived"),
        ({"client": Unhashable()}, r"client, a Unhashable, cannot be hashed; make its dataclass"),
        ({"aggregate": None}, "aggregate is no function"),
        ({"initial_extra": lambda *_: [1]}, "its extra is a list; let initial_extra return"),
        ({"initial_extra": lambda *_: {"a": object()}}, "extra 'a' is a object; give a tensor"),
    ],
)
def test_what_an_algorithm_is_made_of(own, message, dataset, tmp_path):
    with pytest.raises(errors.PfrecError, match=message):
        _trained(dataset, tmp_path / "run", **own)


class Own(strategy.Strategy):
    """Plain training whose outcome is changed."""

    def __init__(self, change):
        self._change = change

    def train(self, model, inputs):
        return self._change(work.train(model, inputs))


def _upload(change):
    def changed(done):
        upload = collections.OrderedDict(done.upload)
        change(upload, next(iter(upload)))
        return dataclasses.replace(done, upload=upload)

    return Own(changed)


@pytest.mark.parametrize(
    ("client", "message"),
    [
        (Own(lambda done: None), "what Own.train returns is a NoneType; return a ClientRound"),
        (Own(lambda done: done.private), "what Own.train returns is a OrderedDict; return a Clie"),
        (
            _upload(lambda values, name: values.pop(name)),
            "`upload` of what Own.train returns la",
        ),
        (
            _upload(lambda values, name: values.update(mine=values[name])),
            "`upload` of what Own.train returns has, beyond what was asked, 'mine'",
        ),
        (
            _upload(lambda values, name: values.update({name: values[name][tf.newaxis]})),
            r"`upload` of what Own.train returns has '.*' as float32 \(1, .*; it is float32 \(",
        ),
        (
            _upload(lambda values, name: values.update({name: tf.cast(values[name], tf.int32)})),
            r"`upload` of what Own.train returns has '.*' as int32 \(.*; it is float32 \(",
        ),
        (
            Own(lambda done: dataclasses.replace(done, private=dict.fromkeys(done.private, 0.0))),
            r"`private` of what Own.train returns has '.*' as float32 \(\); it is float32 \(.",
        ),
        (
            Own(
                lambda done: dataclasses.replace(
                    done, private=dict.fromkeys(done.private, object())
                )
            ),
            "in `private` of what Own.train returns is a object; give a tensor",
        ),
        (
            Own(lambda done: dataclasses.replace(done, private={**done.private, "mine": 1.0})),
            "`private` of what Own.train returns has, beyond what was asked, 'mine'; `kept` names",
        ),
    ],
)
def test_what_a_strategy_returns(client, message, dataset, tmp_path):
    with pytest.raises(errors.PfrecError, match=message):
        _trained(dataset, tmp_path / "run", client=client)


class Says(strategy.Strategy):
    """Plain training that says other things of itself."""

    def __init__(self, kept=(), optimizers=None):
        self._kept, self._optimizers = kept, optimizers

    def kept(self, layout):
        return self._kept

    def optimizers(self, layout):
        return self._optimizers or super().optimizers(layout)


@pytest.mark.parametrize(
    ("client", "message"),
    [
        (Says(optimizers={"mine": []}), "optimizers: 'mine' does not begin with 'optimizer'"),
        (
            Says(optimizers={variables.OPTIMIZER: ["a"]}),
            "optimizers: the model has no variable 'a'",
        ),
        (Says([strategy.Kept("a", ()), strategy.Kept("a", ())]), "two have the name 'a'; rename"),
        (Says([strategy.Kept("a", (), copy_of="b")]), "kept: the model has no variable 'b'"),
        (Says([strategy.Kept("a", ())]), "'a' is no variable of the model and no slot"),
    ],
)
def test_what_a_strategy_says_of_itself(client, message, dataset, tmp_path):
    with pytest.raises(errors.PfrecError, match=message):
        _trained(dataset, tmp_path / "run", client=client)
