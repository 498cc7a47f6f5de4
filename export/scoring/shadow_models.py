"""Models of half of the candidate rows, which show what a model says of a row that it was trained
on and of one that it was not.

Candidates are halved at random several times, and a model is trained on each half, so that each row
is in half of the models and out of the others. They are trained on the scenario's own rows alone,
for a few passes: they need not be as good as the model that is attacked, only alike in which rows
they find hard.

References:
  Carlini et al., "Membership Inference Attacks From First Principles", IEEE S&P 2022; Watson et
  al., "On the Importance of Difficulty Calibration in Membership Inference Attacks", ICLR 2022.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from export.exporting import trained as trained_lib
from export.scoring import row_scores
from pfrec import errors
from pfrec.data.dataset import row_block
from pfrec.models import adam, ranker

_EPOCHS, _LEARNING_RATE = 4, 0.01
# Rows of a batch: of few rows there are as many batches as of some thousands.
_LEAST_BATCH, _MOST_BATCH, _BATCHES = 16, 256, 32
_SEED = 7
# Of a row's scores' variance, so that rows that all models agree on are not divided by nothing.
_LEAST_VARIANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Shadows:
    """What models of known rows say of each candidate.

    Attributes:
      inside: mean score of the models that were trained on a row, float64 [rows].
      outside: of those that were not.
      variance: of a score among models of the same kind, the mean over rows.
      hardness: mean loss of the models that were not trained on a row, float64 [rows].
    """

    inside: np.ndarray
    outside: np.ndarray
    variance: float
    hardness: np.ndarray

    def likelihood_ratio(self, score: np.ndarray) -> np.ndarray:
        """log p(score | in) - log p(score | out) of normal scores of one variance, float64 [rows].

        Args:
          score: of the model that is attacked, `row_scores.confidences`, [rows].
        """
        middle = (self.inside + self.outside) / 2.0
        # The shadows know fewer rows than the model that is attacked: all its scores may be higher.
        score = score - np.mean(score) + np.mean(middle)
        return (self.inside - self.outside) * (score - middle) / self.variance


def train(model: trained_lib.TrainedModel, count: int) -> Shadows:
    """Trains shadow models on halves of a model's rows.

    Args:
      model: whose `rows` are the candidates.
      count: how many; even.

    Raises:
      PfrecError: where the values that its training began with are not known.
    """
    if model.begin is None:
        raise errors.PfrecError(
            f"{model.scenario}: shadow models are for models of one scenario's own client; give "
            "--shadows=0"
        )
    random = np.random.default_rng(_SEED)
    inside, outside, losses = [], [], []
    for _ in range(count // 2):
        half = random.permutation(len(model.rows)) % 2 == 0
        one, other = (_trained_on(model, chosen, random) for chosen in (half, ~half))
        inside.append(np.where(half, one[0], other[0]))
        outside.append(np.where(half, other[0], one[0]))
        losses.append(np.where(half, other[1], one[1]))
    # Of one pair nothing is known of it; it scales all ratios alike.
    spread = [np.var(v, axis=0, ddof=1).mean() for v in (inside, outside)] if count > 2 else [1.0]
    return Shadows(
        np.mean(inside, axis=0),
        np.mean(outside, axis=0),
        max(float(np.mean(spread)), _LEAST_VARIANCE),
        np.mean(losses, axis=0),
    )


def _trained_on(
    model: trained_lib.TrainedModel, chosen: np.ndarray, random: np.random.Generator
) -> "tuple[np.ndarray, np.ndarray]":
    """Scores and losses of all rows by a model that is trained on the chosen ones, float64
    [rows].
    """
    assert model.begin is not None
    network = model.begin()
    _train(network, model, model.rows.take(np.flatnonzero(chosen)), random)
    rows, schema = model.rows, model.schema
    return (
        row_scores.confidences(network, rows, schema),
        row_scores.losses(network, rows, schema),
    )


def _train(
    network: tf.keras.Model,
    model: trained_lib.TrainedModel,
    rows: row_block.Rows,
    random: np.random.Generator,
) -> None:
    loss_of = ranker.MultiTaskRanker(network, [task.name for task in model.schema.tasks])
    variables = network.trainable_variables
    optimizer = adam.Adam(variables, _LEARNING_RATE)

    @tf.function(reduce_retracing=True)
    def step(categorical: tf.Tensor, numerical: tf.Tensor, labels: tf.Tensor) -> None:
        batch = {"categorical": categorical, "numerical": numerical, "labels": labels}
        with tf.GradientTape() as tape:
            loss = loss_of.compute_loss(batch, training=True)
        gradients = tape.gradient(loss, variables)
        optimizer.apply(
            [tf.zeros_like(v) if g is None else g for v, g in zip(variables, gradients)]
        )

    size = min(max(len(rows) // _BATCHES, _LEAST_BATCH), _MOST_BATCH, len(rows))
    for _ in range(_EPOCHS):
        order = random.permutation(len(rows))
        for start in range(0, len(rows) - size + 1, size):
            one = rows.take(order[start : start + size])
            step(tf.constant(one.categorical), tf.constant(one.numerical), tf.constant(one.labels))
