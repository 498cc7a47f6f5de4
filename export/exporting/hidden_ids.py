"""Ids of private features that few training rows hold are exported as the unknown id.

Who reads an exported model sees which rows of a table training changed: all others have the values
that the run's seed began with. So an id that fewer than some training rows hold gets the unknown
id's row, leaves the vocabulary that the scenario made of its own rows, and the words that stay are
in alphabetical order instead of the commonest first. Ids that no row holds and those that few rows
hold are then the same in every file of the export. Ids that more rows hold keep what was trained
for them, and that they were trained can be told: a row of a table that says something of an id
says that it knows the id.

Tables of shared features stay as they are: their rows are what all scenarios made of them.
"""

import dataclasses

import numpy as np

from export.exporting import trained
from pfrec.data import schema as schema_lib
from pfrec.models.mmoe import mmoe


def hide(model: trained.TrainedModel, least: int) -> "tuple[trained.TrainedModel, dict[str, int]]":
    """The model without its rarely held ids.

    Args:
      model: a trained model, whose network's tables are changed in place.
      least: training rows that an id must be in to keep its row; 0 hides nothing.

    Returns:
      The model, with its schema and its rows as they are now; and how many ids are told apart, by
      private feature.
    """
    held = model.held() if least else {}
    if not held or not isinstance(model.network, mmoe.MMoE):
        return model, {}
    schema, features, kept_of = model.schema, [], {}
    changed: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for layer, feature in zip(model.network.embeddings, schema.categorical):
        if feature.name in held:
            kept = np.flatnonzero(held[feature.name][: feature.cardinality] >= least)
            vocabulary, places = feature.vocabulary, kept
            if feature.name in model.own_vocabularies:
                words = sorted((feature.vocabulary[i], i) for i in kept.tolist())
                kept = np.array([number for _, number in words], np.int64)
                vocabulary = tuple(word for word, _ in words)
                places = np.arange(len(kept))
            table = layer.table.numpy()
            now = np.repeat(table[-1:], len(table), axis=0)
            now[places] = table[kept]
            layer.table.assign(now)
            new_ids = np.full(len(table), feature.cardinality, np.int32)
            new_ids[kept] = places
            changed[feature.name] = vocabulary, new_ids
            kept_of[feature.name] = len(kept)
    # Features that read another's table have its words and ids.
    categorical = model.rows.categorical.copy()
    for feature, place in zip(schema.categorical, schema.id_places):
        if feature.owner in changed:
            vocabulary, new_ids = changed[feature.owner]
            feature = dataclasses.replace(feature, vocabulary=vocabulary)
            own = categorical[:, place]
            categorical[:, place] = np.where(own == schema_lib.NO_VALUE, own, new_ids[own])
        features.append(feature)
    return (
        dataclasses.replace(
            model,
            schema=dataclasses.replace(schema, categorical=tuple(features)),
            rows=dataclasses.replace(model.rows, categorical=categorical),
        ),
        kept_of,
    )
