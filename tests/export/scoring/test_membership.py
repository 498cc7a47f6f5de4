"""Attacks find what is planted, nothing where there is nothing, and their figures are right."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from export.commands import audit as audit_command
from export.exporting import trained
from export.scoring import membership, row_scores, shadow_models
from pfrec import client_directory, errors
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe

CONFIG = ModelConfig(embedding_dim=4, numeric_dim=2, experts=2, expert_units=(6,), tower_units=(4,))
SCHEMA = schema_lib.Schema(
    categorical=(
        schema_lib.Categorical("user", 60),
        schema_lib.Categorical("item", 8, "shared"),
        schema_lib.Categorical("seen", 6, values=3, separator="|"),
    ),
    numerical=(schema_lib.Numerical("price"),),
    tasks=(schema_lib.Task("click", "click"), schema_lib.Task("buy", "buy")),
)
ROWS = 300


def rows(seed, users):
    random = np.random.default_rng(seed)
    lists = random.integers(0, 6, [ROWS, 3])
    lists[:, 2] = schema_lib.NO_VALUE
    ids = [random.choice(users, ROWS)[:, None], random.integers(0, 8, [ROWS, 1]), lists]
    return row_block.Rows(
        np.concatenate(ids, axis=1).astype(np.int32),
        random.normal(size=[ROWS, 1]).astype(np.float32),
        random.integers(0, 2, [ROWS, 2]).astype(np.uint8),
    )


def first():
    return mmoe.build(SCHEMA, CONFIG, 0)


INSIDE, OUTSIDE = rows(1, np.arange(40)), rows(2, np.arange(60))
COUNTS = np.bincount(INSIDE.categorical[:, 0], minlength=61)


def held_by(own):
    """How many rows hold each id."""
    seen = [np.unique(ids[ids != schema_lib.NO_VALUE]) for ids in own.categorical[:, 2:]]
    return {
        "user": np.bincount(own.categorical[:, 0], minlength=61),
        "item": np.bincount(own.categorical[:, 1], minlength=9),
        "seen": np.bincount(np.concatenate(seen), minlength=7),
    }


class Source:
    """A scenario whose model remembers what is asked of it."""

    scenarios = ("nl",)

    def __init__(self, *, ids=(), labels=False, stand_in=False):
        self._ids, self._labels, self._stand_in = list(ids), labels, stand_in

    def trained(self, scenario, most):
        network = first()
        table = network.embeddings[0].table
        value = table.numpy()
        value[self._ids] += 1.0
        table.assign(value)
        own = INSIDE
        if self._labels:  # What it predicts is what training rows are labelled.
            logits = network(
                {"categorical": own.categorical, "numerical": own.numerical}, training=False
            )
            told = [logits[task.name].numpy().reshape(-1) > 0.0 for task in SCHEMA.tasks]
            own = dataclasses.replace(own, labels=np.stack(told, axis=1).astype(np.uint8))
        return trained.TrainedModel(
            scenario,
            network,
            SCHEMA,
            own.take(slice(0, most)),
            {"id": "abc", "round": 1},
            held=lambda: {"user": COUNTS},
            counts=lambda: held_by(INSIDE),
            stand_in=self._stand_in,
            begin=first,
        )

    def test_rows(self, scenario, most):
        return trained.LabelledRows(OUTSIDE.take(slice(0, most)), SCHEMA)


def found(source, least_rows=8, shadows=0):
    listed = membership.audit(source, "nl", membership.Limits(ROWS, least_rows, shadows))
    return {(one.model, one.attack): one for one in listed}


def test_a_model_of_nothing_tells_nothing():
    for (_, attack), one in found(Source(), least_rows=0).items():
        assert abs(one.auc - 0.5) <= 2.0 * one.half_width, attack
        assert not one.tells


def test_ids_that_training_moved_are_found_and_not_in_the_export():
    held = np.flatnonzero(COUNTS[:60])
    assert len(held) == 40
    told = found(Source(ids=held), least_rows=ROWS)
    assert told["trained", "ids of user"].auc == 1.0
    assert told["trained", "ids of user"].tells
    assert (told["trained", "ids of user"].members, told["trained", "ids of user"].others) == (
        40,
        20,
    )
    # All are as rare as that, so that each has the unknown id's row.
    assert told["exported", "ids of user"].auc == 0.5
    # Nobody's rows were moved in the other tables.
    assert told["trained", "rows by loss"].auc == pytest.approx(0.5, abs=0.08)


def test_ids_of_private_tables_are_not_looked_for_in_received_values_and_each_attack_has_its_line():
    class Received(Source):
        def trained(self, scenario, most):
            model = super().trained(scenario, most)
            return dataclasses.replace(model, received=lambda: model.network)

    said = []
    limits = membership.Limits(ROWS, 8, 0)
    listed = membership.audit(Received(ids=np.arange(40)), "nl", limits, said.append)
    ids = {(one.model, one.attack) for one in listed if one.attack.startswith("ids of")}
    assert ("trained", "ids of user") in ids
    assert {attack for model, attack in ids if model == "received"} <= {"ids of item"}
    for one in listed:
        assert f"nl: {one.model} model, {one.attack}" in said


def test_ids_count_that_rows_beyond_the_candidates_hold():
    """The model was trained on them too: who is not asked about is no one that it does not know."""
    few = 60
    assert len(np.unique(INSIDE.categorical[:few, 0])) < 40
    held = np.flatnonzero(COUNTS[:60])
    listed = membership.audit(Source(ids=held), "nl", membership.Limits(few, 8, 0))
    told = {(one.model, one.attack): one for one in listed}
    users = told["trained", "ids of user"]
    assert (users.auc, users.members, users.others) == (1.0, 40, 20)
    rare = told["trained", "rows with rare ids by loss"]
    member = (held_by(INSIDE)["user"][INSIDE.categorical[:few, 0]] <= membership.RARE).sum()
    assert rare.members == member


def test_rows_that_are_predicted_well_are_found():
    told = found(Source(labels=True))["trained", "rows by loss"]
    assert told.auc > 0.6
    assert told.tells
    assert (told.members, told.others) == (ROWS, ROWS)


def test_losses_by_hand():
    model = Source().trained("nl", ROWS)
    labels = model.rows.labels.copy()
    labels[0] = [1, row_block.UNOBSERVED]
    labels[1] = row_block.UNOBSERVED
    model = dataclasses.replace(model, rows=dataclasses.replace(model.rows, labels=labels))
    losses = row_scores.losses(model.network, model.rows, SCHEMA)
    sure = row_scores.confidences(model.network, model.rows, SCHEMA)
    logits = model.network(
        {"categorical": model.rows.categorical, "numerical": model.rows.numerical}, training=False
    )
    click, buy = (logits[task.name].numpy().reshape(-1) for task in SCHEMA.tasks)
    assert losses[0] == pytest.approx(np.log1p(np.exp(-click[0])), rel=1e-5)
    assert losses[1] == 0.0
    signs = np.where(labels[2] == 1, -1.0, 1.0)
    both = [np.log1p(np.exp(sign * x[2])) for sign, x in zip(signs, (click, buy))]
    assert losses[2] == pytest.approx(np.mean(both), rel=1e-5)
    assert sure[0] == pytest.approx(click[0], rel=1e-5)
    assert sure[1] == 0.0
    assert sure[2] == pytest.approx(np.mean([-signs[0] * click[2], -signs[1] * buy[2]]), rel=1e-5)


def test_the_likelihood_ratio_is_that_of_two_normals():
    shadows = shadow_models.Shadows(np.array([2.0, 1.0]), np.array([0.0, 1.0]), 4.0, np.zeros(2))
    # Of a model whose mean is that of the shadows.
    score = np.array([1.5, 0.5])
    normal = [stats.norm(m, 2.0).logpdf(score) for m in (shadows.inside, shadows.outside)]
    np.testing.assert_allclose(shadows.likelihood_ratio(score), normal[0] - normal[1])
    # That a model is surer of all rows says nothing of one.
    np.testing.assert_allclose(shadows.likelihood_ratio(score + 7.0), normal[0] - normal[1])


def test_shadow_models_know_the_rows_that_they_were_trained_on():
    model = Source().trained("nl", ROWS)
    shadows = shadow_models.train(model, 2)
    again = shadow_models.train(model, 2)
    np.testing.assert_array_equal(shadows.inside, again.inside)
    assert shadows.inside.shape == (ROWS,)
    # Labels are drawn: whatever is known of them was learned from the row itself.
    assert np.mean(shadows.inside) > np.mean(shadows.outside) + 0.05


def test_a_model_that_was_trained_on_rows_is_told_by_shadow_models():
    model = Source().trained("nl", ROWS)
    shadow_models._train(model.network, model, INSIDE, np.random.default_rng(3))

    class Trained(Source):
        def trained(self, scenario, most):
            return model

    told = found(Trained(), shadows=4)
    control = told["control", "rows by confidence"]
    for by in ("likelihood ratio", "loss", "calibrated loss"):
        one = told["trained", f"rows by {by}"]
        assert one.tells
        assert one.auc > control.auc
    assert not control.tells


def test_a_received_model_has_nothing_of_what_was_made_of_it():
    """Under differential privacy its private part is the released one's."""
    private = {"embedding/u/t": np.ones(2), "tower/w": np.ones(2), "gate": np.ones(2)}
    as_received = client_directory.as_received
    assert sorted(as_received(private, {"tower/w"})) == ["embedding/u/t", "gate"]
    released = {"released/gate": np.full(2, 3.0), "optimizer/released/0000": np.ones(4)}
    found = as_received({**private, **released}, {"tower/w"})
    np.testing.assert_array_equal(found["gate"], 3.0)
    np.testing.assert_array_equal(found["embedding/u/t"], 0.0)


def test_found_at_few_false_alarms():
    others = np.arange(100.0)
    member = np.arange(104) >= 100
    score = np.concatenate([others, [98.5, 99.5, 97.0, 200.0]])
    # One of 100 may be above the threshold, which so is 98.
    assert membership.found_at(score, member, 0.01) == 0.75
    assert membership.found_at(score, member, 0.0) == 0.5


def test_rows_that_are_gone_are_an_error():
    with pytest.raises(errors.PfrecError, match="are not there, or are others now"):
        membership.audit(Source(stand_in=True), "nl")


def test_the_picture_and_the_figures_are_written(tmp_path):
    listed = membership.audit(Source(), "nl", membership.Limits(ROWS, shadows=0))
    paths = audit_command.write(listed, tmp_path)
    assert [path.name for path in paths] == ["audit.json", "audit.html"]
    page = paths[1].read_text(encoding="utf-8")
    for one in listed:
        assert f"{one.attack}, {one.model}: {one.auc:.4f}" in page
    told = "\n".join(audit_command._told(listed))
    assert told.count("rows by loss") == 2
