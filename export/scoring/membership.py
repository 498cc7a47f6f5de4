"""What a model tells of the rows and ids that it was trained on, by attacks that its owner can try.

Each attack gives every candidate a score, higher where it seems to have been trained on, and is
judged by the AUC of the scores: 0.5 is chance, 1 is certainty. Candidates are training rows against
test rows, or the ids of a table that training rows hold against those that none holds.

- `rows by loss`: what a model predicts well it was trained on (Yeom et al.).
- `rows with rare ids by loss`: the same among rows with an id that at most three training rows
  hold.
- `rows by calibrated loss`, `rows with rare ids by calibrated loss`: by how much less the loss is
  than that of models that were not trained on the row (`shadow_models`, Watson et al.).
- `rows by likelihood ratio`, `rows with rare ids by likelihood ratio`: whether what a model says of
  a row is more like what models say that were trained on it, or like those that were not
  (Carlini et al.).
- `ids of FEATURE`: a row of an embedding table that has another value than rows that nobody trained
  belongs to an id that was held.

Three models are attacked: as it was trained, as pfrec-export would write it, and with the values
that the client received last, of which others know what they were sent: there it is that
differential privacy shows. Of these, ids of shared tables alone are looked for: private tables
never left.

Test rows may differ from training rows without any model, as where a split is by time. So rows
are also scored by how sure of them the shadow models are that they were left out of, which know as
much of the ones as of the others: `control`. What that finds no model told.

References:
  Yeom et al., "Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting", CSF
  2018; Carlini et al., "Membership Inference Attacks From First Principles", IEEE S&P 2022 (what
  is found at few false alarms); Watson et al., "On the Importance of Difficulty Calibration in
  Membership Inference Attacks", ICLR 2022.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Optional

import numpy as np

from export.exporting import hidden_ids
from export.exporting import trained as trained_lib
from export.scoring import delong, row_scores, shadow_models
from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block
from pfrec.models.mmoe import mmoe

TRAINED, EXPORTED, RECEIVED, CONTROL = "trained", "exported", "received", "control"
RARE = 3
_FALSE_ALARMS = 0.01

Attack = tuple[str, np.ndarray, np.ndarray]  # its name, scores and which are members


@dataclasses.dataclass(frozen=True)
class Finding:
    """What an attack found.

    Attributes:
      scenario: whose model and rows.
      model: `trained`, `exported`, `received` or `control`.
      attack: in words.
      auc: of the scores.
      half_width: of its 95% interval.
      found: share of the members that are found where 1% of the others are taken for members.
      members, others: how many candidates there are of each.
    """

    scenario: str
    model: str
    attack: str
    auc: float
    half_width: float
    found: float
    members: int
    others: int

    @property
    def tells(self) -> bool:
        """Whether it is better than chance by more than chance."""
        return self.auc - self.half_width > 0.5


@dataclasses.dataclass(frozen=True)
class Limits:
    """How far an audit goes.

    Attributes:
      rows: training and test rows of a scenario, at most so many of each.
      least_rows: of `hidden_ids.hide`.
      shadows: models that are trained for the likelihood ratio; 0 leaves it out.
    """

    rows: int = 20_000
    least_rows: int = 8
    shadows: int = 4


def found_at(score: np.ndarray, member: np.ndarray, false_alarms: float = _FALSE_ALARMS) -> float:
    """The share of the members that score above a threshold that at most so large a share of the
    others scores above.
    """
    others = np.sort(score[~member])
    allowed = int(false_alarms * len(others))
    threshold = others[len(others) - 1 - allowed]
    return float(np.mean(score[member] > threshold))


def audit(
    source: trained_lib.Source,
    scenario: str,
    limits: Optional[Limits] = None,
    say: Callable[[str], None] = lambda line: None,
) -> "list[Finding]":
    """Tries all attacks on a scenario's models.

    Args:
      source: of the models and their rows.
      scenario: which one.
      limits: how far to go.
      say: takes a line for each attack, when it is tried.

    Raises:
      PfrecError: where the rows that it was trained on are not there, or shadow models are asked
        for where they mean nothing.
    """
    limits = limits or Limits()
    say(f"{scenario}: reading its model and rows")
    candidates = _candidates(source, scenario, limits.rows)
    model = candidates.model
    if limits.shadows:
        say(f"{scenario}: training {limits.shadows} models to compare with")
    shadows = shadow_models.train(model, limits.shadows) if limits.shadows else None
    attacks: list[tuple[str, Attack]] = []

    def attack(kind: str, of: _Candidates, tables: "Mapping[str, np.ndarray]") -> None:
        for one in itertools.chain(_rows(of, shadows), _held_ids(of, tables)):
            say(f"{scenario}: {kind} model, {one[0]}")
            attacks.append((kind, one))

    attack(TRAINED, candidates, _moved(model))
    if model.received is not None:
        received = dataclasses.replace(model, network=model.received())
        # A private table that it has beside them never left.
        private = {f.name for f in model.schema.categorical if f.policy == "private"}
        left = {name: ids for name, ids in _moved(received).items() if name not in private}
        attack(RECEIVED, dataclasses.replace(candidates, model=received), left)
    # The last: it changes the network.
    hidden, _ = hidden_ids.hide(model, limits.least_rows)
    exported = dataclasses.replace(candidates, model=hidden)
    attack(EXPORTED, exported, _told_apart(exported) if limits.least_rows else {})
    if shadows is not None:
        attacks.append((CONTROL, ("rows by confidence", shadows.outside, candidates.member)))
    found = [_judged(scenario, kind, *one) for kind, one in attacks]
    return [one for one in found if one is not None]


def _judged(
    scenario: str, kind: str, attack: str, score: np.ndarray, member: np.ndarray
) -> Optional[Finding]:
    judged = delong.single(member, score)
    if judged is None:
        return None
    members = int(member.sum())
    counts = members, len(member) - members
    return Finding(scenario, kind, attack, *judged, found_at(score, member), *counts)


@dataclasses.dataclass(frozen=True)
class _Candidates:
    """A model whose rows are the candidates.

    Attributes:
      model: its rows are training rows and then test rows, those that have a label.
      member: bool [rows], which of them are training rows.
      counts: by feature with a table, how many training rows hold each id.
      rare: bool [rows], which hold an id that few training rows hold.
    """

    model: trained_lib.TrainedModel
    member: np.ndarray
    counts: "dict[str, np.ndarray]"
    rare: np.ndarray


def _candidates(source: trained_lib.Source, scenario: str, rows: int) -> _Candidates:
    model, test = source.trained(scenario, rows), source.test_rows(scenario, rows)
    if model.stand_in or test is None:
        raise errors.PfrecError(
            f"{scenario}: the rows that it was trained on are not there, or are others now; an "
            "audit needs them"
        )
    outside = trained_lib.of_tasks(test.rows, test.schema, model.schema)
    joined = row_block.joined([model.rows, outside])
    member = np.arange(len(joined)) < len(model.rows)
    # Of all training rows, not of the candidates alone: the model has seen the others too.
    counts, rare = dict(model.counts()), np.zeros(len(joined), bool)
    for feature, place in zip(model.schema.categorical, model.schema.id_places):
        if feature.table:
            continue
        ids = joined.categorical[:, place]
        known = np.where(ids == schema_lib.NO_VALUE, feature.cardinality, ids)
        held = counts[feature.name][known]
        rare |= ((held <= RARE) & (ids != schema_lib.NO_VALUE)).any(axis=1)
    labelled = (joined.labels != row_block.UNOBSERVED).any(axis=1)
    model = dataclasses.replace(model, rows=joined.take(labelled))
    return _Candidates(model, member[labelled], counts, rare[labelled])


def _rows(of: _Candidates, shadows: "Optional[shadow_models.Shadows]") -> "Iterator[Attack]":
    network, rows, schema = of.model.network, of.model.rows, of.model.schema
    losses = row_scores.losses(network, rows, schema)
    scores = {"loss": -losses}
    if shadows is not None:
        scores["calibrated loss"] = shadows.hardness - losses
        confidences = row_scores.confidences(network, rows, schema)
        scores["likelihood ratio"] = shadows.likelihood_ratio(confidences)
    for name, score in scores.items():
        yield f"rows by {name}", score, of.member
        yield f"rows with rare ids by {name}", score[of.rare], of.member[of.rare]


def _held_ids(of: _Candidates, moved: "Mapping[str, np.ndarray]") -> "Iterator[Attack]":
    for name, score in moved.items():
        yield f"ids of {name}", score.astype(float), of.counts[name][: len(score)] > 0


def _moved(model: trained_lib.TrainedModel) -> "dict[str, np.ndarray]":
    """By feature, which ids' rows are not what training began with, bool [ids]: those of the run's
    seed, or zero, as private tables begin under differential privacy.
    """
    first = model.begin() if model.begin else None
    if first is None or not isinstance(model.network, mmoe.MMoE):
        return {}
    return {
        feature.name: _others(now.table.numpy(), then.table.numpy()[: feature.cardinality])
        for feature, now, then in zip(
            model.schema.categorical, model.network.embeddings, first.embeddings
        )
        if not feature.table
    }


def _told_apart(of: _Candidates) -> "dict[str, np.ndarray]":
    """By private feature, which ids' rows are not that of the unknown id in an exported model, bool
    [ids]. Of a vocabulary that a scenario made itself the words that are left out are in no file.
    """
    model = of.model
    if not isinstance(model.network, mmoe.MMoE):
        return {}
    return {
        feature.name: _others(layer.table.numpy(), layer.table.numpy()[-1:])
        for feature, layer in zip(model.schema.categorical, model.network.embeddings)
        if feature.name in of.counts
        and feature.policy == "private"
        and feature.name not in model.own_vocabularies
    }


def _others(table: np.ndarray, first: np.ndarray) -> np.ndarray:
    known = table[:-1]
    return np.asarray((known != first).any(axis=1) & known.any(axis=1))
