"""What clients do in the baselines that change it: one step of a single weight by hand, and
degenerate hyperparameters against FedAvg and local training.
"""

import numpy as np
import pytest
import tensorflow as tf

from pfrec.models import roles
from tests.tff_process import one_weight
from tests.tff_process.algorithms import eager
from tff_process import plan
from tff_process.algorithms import (
    apfl,
    ditto,
    fedala,
    fedavg_finetune,
    fedbabu,
    fedrep,
    mr_mtl,
    pfedme,
)

ONE, NAME, sigmoid = one_weight.ONE, one_weight.NAME, eager.sigmoid
Client = eager.Client


def test_ditto_by_hand(one_batch):
    """Adam's first step is the learning rate.

    At v = 2 the pull 10 * (2 - 1) outweighs the gradient sigmoid(2) - 1, without it v goes up.
    """
    upload, kept = eager.one_weight(ditto.ditto(ONE, ditto.Settings(10.0)), one_batch).one(
        1.0, **{NAME: 2.0}
    )
    assert upload == pytest.approx(1.1, rel=1e-5)
    assert kept[NAME] == pytest.approx(1.9, rel=1e-5)
    assert kept["optimizer/personal/0000"] == pytest.approx(0.1 * (sigmoid(2) - 1 + 10), rel=1e-5)
    _, free = eager.one_weight(ditto.ditto(ONE, ditto.Settings(0.0)), one_batch).one(
        1.0, **{NAME: 2.0}
    )
    assert free[NAME] == pytest.approx(2.1, rel=1e-5)


def test_pfedme_by_hand(one_batch):
    """theta goes from the received 1.0 to 1.1, whatever it was before;
    w follows by 0.075 of that.
    """
    settings = pfedme.Settings(weight=15.0, steps=1, outer=0.075)
    upload, kept = eager.one_weight(pfedme.pfedme(ONE, settings), one_batch).one(1.0, **{NAME: 3.0})
    assert kept[NAME] == pytest.approx(1.1, rel=1e-5)
    assert upload == pytest.approx(1.0075, rel=1e-5)


def test_pfedme_pulls_theta_to_w_from_the_second_step_on(one_batch):
    """m after two steps is 0.9 * 0.1 * g(1) + 0.1 * (g(1.1) + 15 * 0.1),
    with g(w) = sigmoid(w) - 1.
    """
    _, kept = eager.one_weight(pfedme.pfedme(ONE, pfedme.Settings(15.0, 2)), one_batch).one(1.0)
    expected = 0.09 * (sigmoid(1) - 1) + 0.1 * (sigmoid(1.1) - 1 + 15 * 0.1)
    assert kept["optimizer/0000"] == pytest.approx(expected, rel=1e-4)


def test_apfl_by_hand(one_batch):
    """w and v go from 1 to 1.1 and from 2 to 2.1; at m = 0.5 * 2 + 0.5 * 1.1,
    alpha loses 0.1 * (2 - 1.1) * (sigmoid(m) - 1).
    """
    upload, kept = eager.one_weight(apfl.apfl(ONE, apfl.Settings(0.5, 0.1)), one_batch).one(
        1.0, **{f"local/{NAME}": 2.0}
    )
    alpha = 0.5 - 0.1 * 0.9 * (sigmoid(1.55) - 1)
    assert upload == pytest.approx(1.1, rel=1e-5)
    assert kept[f"local/{NAME}"] == pytest.approx(2.1, rel=1e-5)
    assert kept["alpha"] == pytest.approx(alpha, rel=1e-4)
    assert kept[NAME] == pytest.approx(alpha * 2.1 + (1 - alpha) * 1.1, rel=1e-5)
    assert kept["optimizer/local/0000"] == pytest.approx(0.1 * 0.5 * (sigmoid(1.55) - 1), rel=1e-5)


def test_apfls_mixture_stays_one(one_batch):
    """Half of each at first; a long step ends at all of the client's own, or at nothing of it."""
    for own, alpha in ((2.0, 1.0), (-2.0, 0.0)):
        _, kept = eager.one_weight(apfl.apfl(ONE, apfl.Settings(0.5, 1e3)), one_batch).one(
            1.0, **{f"local/{NAME}": own}
        )
        assert kept["alpha"] == alpha
        assert kept[NAME] == pytest.approx(alpha * (own + 0.1) + (1 - alpha) * 1.1, rel=1e-5)


def test_fedalas_weights_stay_between_what_is_own_and_what_was_received(one_batch):
    """Towards what is own as far as a long step goes: W is 0, and the merge is what is own."""
    settings = fedala.Settings(kinds=("expert",), rate=1e3)
    upload, kept = eager.one_weight(fedala.fedala(ONE, settings), one_batch).one(1.0, **{NAME: 2.0})
    assert kept[f"merge/{NAME}"] == 0.0
    assert upload == pytest.approx(2.1, rel=1e-5)
    # The other way W is 1 already.
    upload, kept = eager.one_weight(fedala.fedala(ONE, settings), one_batch).one(2.0, **{NAME: 1.0})
    assert kept[f"merge/{NAME}"] == 1.0
    assert upload == pytest.approx(2.1, rel=1e-5)


def test_fedala_learns_its_weights_on_a_share_of_the_batches(tmp_path):
    """Of four batches a half, from W = 1: the merge is 2 - W, the second step begins where the
    first ended.
    """
    data = one_weight.log(tmp_path / "four", {"a": (12, 1)})
    settings = fedala.Settings(kinds=("expert",), share=0.4)
    client = Client(fedala.fedala(ONE, settings), data, "a", one_weight.make, 4, 0.1, 3)
    _, kept = client.one(1.0, **{NAME: 2.0})
    first = 1.0 + (sigmoid(1.0) - 1.0)
    assert kept[f"merge/{NAME}"] == pytest.approx(first + sigmoid(2.0 - first) - 1.0, rel=1e-5)


def test_fedala_trains_from_the_statistics_that_it_received(dataset, fedavg_rounds):
    """Those of the batches that its weights were learned on are nobody's; in the first round
    there is nothing to merge.
    """
    algorithm = fedala.fedala(dataset.schema, fedala.Settings(kinds=("tower",)))
    _, (first, *_) = eager.trajectory(algorithm, dataset, eager.shifted)
    eager.assert_equal(first.upload, fedavg_rounds[0].upload, "upload")


def test_fedala_by_hand(one_batch):
    """Own 2, received 1: at W = 1 the merge is 1, so W loses (sigmoid(1) - 1) * (1 - 2); the merge
    is then 2 - W, and training adds 0.1.
    """
    settings = fedala.Settings(kinds=("expert",))
    upload, kept = eager.one_weight(fedala.fedala(ONE, settings), one_batch).one(1.0, **{NAME: 2.0})
    weight = 1 + (sigmoid(1) - 1)
    assert kept[f"merge/{NAME}"] == pytest.approx(weight, rel=1e-5)
    assert upload == pytest.approx(2 - weight + 0.1, rel=1e-5)
    assert kept[NAME] == upload


@pytest.mark.parametrize(
    "make",
    [
        lambda s: apfl.apfl(s, apfl.Settings(0.0, 0.0)),
        lambda s: pfedme.pfedme(s, pfedme.Settings(0.0, 1, 1.0, 1.0)),
        lambda s: fedala.fedala(s, fedala.Settings(kinds=())),
        fedavg_finetune.fedavg_finetune,
    ],
    ids=["apfl", "pfedme", "fedala", "fedavg_finetune"],
)
def test_what_is_uploaded_is_fedavgs_with_degenerate_hyperparameters(make, dataset, fedavg_rounds):
    client, rounds = eager.trajectory(make(dataset.schema), dataset, eager.shifted)
    for own, expected in zip(rounds, fedavg_rounds):
        eager.assert_equal(own.upload, expected.upload, "upload")
        np.testing.assert_array_equal(own.loss, expected.loss)
    # The personal model is the client's trained copy, private tables included; a mixture's batch
    # statistics are its own.
    kept = {
        spec.name
        for spec in client.layout.specs
        if spec.trainable or client.algorithm.name != "apfl"
    }
    personal = {**fedavg_rounds[-1].private, **rounds[-1].upload}
    eager.assert_equal(
        rounds[-1].private,
        {name: value for name, value in personal.items() if name in kept},
        "personal",
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda s: ditto.ditto(s, ditto.Settings(0.0)),
        lambda s: apfl.apfl(s, apfl.Settings(1.0, 0.0)),
    ],
    ids=["ditto", "apfl"],
)
def test_the_personal_model_is_that_of_local_training_with_degenerate_hyperparameters(
    make, dataset, local_rounds, fedavg_rounds
):
    client, rounds = eager.trajectory(make(dataset.schema), dataset, eager.shifted)
    for own, alone, averaged in zip(rounds, local_rounds, fedavg_rounds):
        eager.assert_equal(
            own.private, {n: v for n, v in alone.private.items() if n in client.initial}, "personal"
        )
        # Whatever becomes of the personal model, the global one is trained as FedAvg's.
        eager.assert_equal(own.upload, averaged.upload, "upload")


def head_on_body():
    """A body that FedRep shares and a head that it does not."""
    return one_weight.built(one_weight.HeadOnBody(roles.gate("click")))


def test_fedrep_by_hand(one_batch):
    """The head first, by 0.1 a pass with the body at 1,
    then the body with the head where it came to; each by its own Adam.
    """

    head, body = "gate/click/head/kernel", "expert/0/shared/body/kernel"
    client = Client(fedrep.fedrep(ONE, fedrep.Settings(1)), one_batch, "a", head_on_body, 1, 0.1, 3)
    done = client.round({body: tf.constant([[1.0]])})
    assert float(done.private[head]) == pytest.approx(1.1, rel=1e-5)
    assert float(done.upload[body]) == pytest.approx(1.1, rel=1e-5)
    # m = 0.1 * gradient: of the head at (1, 1), of the body at (1, 1.1).
    assert float(done.private["optimizer/head/0000"]) == pytest.approx(
        0.1 * (sigmoid(1.0) - 1), rel=1e-5
    )
    assert float(done.private["optimizer/body/0000"]) == pytest.approx(
        0.1 * 1.1 * (sigmoid(1.1) - 1), rel=1e-4
    )
    still = Client(
        fedrep.fedrep(ONE, fedrep.Settings(0)), one_batch, "a", head_on_body, 1, 0.1, 3
    ).round({body: tf.constant([[1.0]])})
    assert float(still.private[head]) == 1.0
    assert float(still.private["optimizer/body/0000"]) == pytest.approx(
        0.1 * (sigmoid(1.0) - 1), rel=1e-5
    )


def test_fedbabu_by_hand(one_batch):
    """The body by 0.1 under a head that stays 1, then the client's own head under that body; in
    the second round the body meets the first head again, not the client's own.
    """

    head, body = "gate/click/head/kernel", "expert/0/shared/body/kernel"
    client = Client(
        fedbabu.fedbabu(ONE, fedbabu.Settings(1)), one_batch, "a", head_on_body, 1, 0.1, 3
    )
    done = client.round({body: tf.constant([[1.0]])})
    assert float(done.upload[body]) == pytest.approx(1.1, rel=1e-5)
    assert float(done.private[head]) == pytest.approx(1.1, rel=1e-5)
    assert float(done.private[f"fixed/{head}"]) == 1.0
    first = 0.1 * (sigmoid(1.0) - 1.0)
    assert float(done.private["optimizer/body/0000"]) == pytest.approx(first, rel=1e-5)
    # Of the head, at a body of 1.1.
    assert float(done.private["optimizer/head/0000"]) == pytest.approx(
        0.1 * 1.1 * (sigmoid(1.1) - 1.0), rel=1e-4
    )
    done = client.round({body: tf.constant([[1.1]])})
    second = 0.9 * first + 0.1 * (sigmoid(1.1) - 1.0)
    assert float(done.private["optimizer/body/0000"]) == pytest.approx(second, rel=1e-5)
    still = Client(
        fedbabu.fedbabu(ONE, fedbabu.Settings(0)), one_batch, "a", head_on_body, 1, 0.1, 3
    )
    assert float(still.round({body: tf.constant([[1.0]])}).private[head]) == 1.0


def test_mr_mtl_by_hand(one_batch):
    """From its own 1, pulled by a half towards a mean of 3: the gradient is
    sigmoid(1) - 1 + (1 - 3) / 2.
    """
    client = Client(
        mr_mtl.mr_mtl(ONE, mr_mtl.Settings(0.5)), one_batch, "a", one_weight.make, 1, 0.1, 3
    )
    done = client.round({NAME: tf.constant([[3.0]])})
    assert float(done.private["optimizer/0000"]) == pytest.approx(
        0.1 * (sigmoid(1.0) - 2.0), rel=1e-5
    )
    assert float(done.upload[NAME]) == pytest.approx(1.1, rel=1e-5)
    assert float(done.private[NAME]) == float(done.upload[NAME])


def test_mr_mtl_without_a_pull_is_local_training(dataset, local_rounds):
    client, rounds = eager.trajectory(
        mr_mtl.mr_mtl(dataset.schema, mr_mtl.Settings(0.0)), dataset, eager.shifted
    )
    for own, alone in zip(rounds, local_rounds):
        expected = {n: v for n, v in alone.private.items() if n in client.initial}
        eager.assert_equal(own.private, expected, "personal")


def test_hyperparameters_out_of_range_are_one_clear_error():
    from pfrec import errors
    from tff_process.algorithms import fedamp, fedhca2, server_optimizer

    for make in (
        lambda: ditto.Settings(-1.0),
        lambda: pfedme.Settings(steps=0),
        lambda: apfl.Settings(alpha=1.1),
        lambda: fedala.Settings(kinds=("tables",)),
        lambda: fedrep.Settings(-1),
        lambda: fedbabu.Settings(-1),
        lambda: mr_mtl.Settings(-1.0),
        lambda: fedamp.Settings(alpha=2.0),
        lambda: fedhca2.Settings(radius=1.0),
        lambda: server_optimizer.Settings(tau=0.0),
    ):
        with pytest.raises(errors.PfrecError):
            make()


def test_a_plan_with_an_algorithms_settings_survives_json():
    import json

    for made in (
        plan.Plan("ditto", settings=ditto.Settings(0.3)),
        plan.Plan("fedala", settings=fedala.Settings(("gate", "tower"))),
    ):
        assert plan.Plan.from_json(json.loads(json.dumps(made.to_json()))) == made
