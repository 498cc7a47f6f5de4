"""FedHCA2: encoders take a conflict-averse common update, decoders one attended over decoders, both
by weights learned for each client.

Formula, with Delta[k] = W[k] - P[k]. Encoder: `U` is the conflict-averse update
(`aggregation.conflict`) of all encoders, `P'[k] = W[k] + a[k] * U`. Decoders, of all clients and
tasks alike, variable by variable of size d: `T[k] = sum over j of softmax over j of
(Delta[k]'Delta[j] / sqrt(d)) * Delta[j]`, `P'[k] = W[k] + b[k, layer] * T[k]`. The hyper weights a
and b descend the clients' losses by what the next update says of the direction that was taken:
`a[k] += rate * <Delta[k], U>`, within 0 to 1. Weights of zero with a rate of zero are local
training of all personal variables.

[ours] The product is a cosine: the updates are Adam's, whose lengths are no gradients'. Encoders
are experts and the projection of numerical features, decoders are towers; gates and batch
normalisation stay; shared tables are averaged by rows seen, as in all algorithms here.

References:
  Lu et al., "FedHCA2: Towards Hetero-Client Federated Multi-Task Learning", CVPR 2024; c = 0.4 and
  first weights of 0.1 are the defaults of its code.
"""

from __future__ import annotations

import collections
import dataclasses

from pfrec import lazy, sharing
from pfrec import settings as settings_lib
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedavg, registry
from tff_process.client import variables

with lazy.imports():
    import tensorflow as tf

    from tff_process.aggregation import conflict, mix
    from tff_process.aggregation import gram as gram_lib

ENCODER = "encoder"
_ENCODERS = ("expert", "numeric")


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="fedhca2"):
    """FedHCA2's hyperparameters."""

    radius: float = settings_lib.setting(0.4, "c of the conflict-averse update", low=0.0, below=1.0)
    weight: float = settings_lib.setting(0.1, "the hyper weights at first", low=0.0, high=1.0)
    rate: float = settings_lib.setting(
        0.01, "step size of the hyper weights; 0 keeps them as they are", low=0.0
    )


def encoder(layout: variables.ModelVariables) -> list[variables.VariableSpec]:
    """The personal variables of the encoder."""
    return [spec for spec in layout.joined(variables.PERSONAL) if spec.kind in _ENCODERS]


def decoders(
    layout: variables.ModelVariables,
) -> dict[str, dict[str, list[variables.VariableSpec]]]:
    """The personal variables of the decoders: by layer,
    then by the variable's path in its decoder, one for each task.
    """
    found: dict[str, dict[str, list[variables.VariableSpec]]] = {}
    for spec in layout.joined(variables.PERSONAL):
        if spec.kind not in _ENCODERS:
            path = spec.name[len(spec.group) + 1 :]
            found.setdefault(path.rpartition("/")[0], {}).setdefault(path, []).append(spec)
    return found


def attention(gram: tf.Tensor, size: int, members: tf.Tensor) -> tf.Tensor:
    """float64 [N, N]: softmax over the members of the updates' inner products by the root of their
    size; a row of zeros for the others.
    """
    here = tf.cast(members, tf.float64)
    logits = gram / tf.sqrt(tf.constant(float(size), tf.float64)) + tf.math.log(here)[tf.newaxis, :]
    # A row of nothing but -inf is NaN, which the mask takes away.
    return tf.math.multiply_no_nan(tf.nn.softmax(logits), here[:, tf.newaxis] * tf.ones_like(gram))


def _inner(first: list[tf.Tensor], second: list[tf.Tensor]) -> tf.Tensor:
    """Inner products over some variables together, float64 [N], of values [N, ...]."""
    flat = [
        mix.flat(tf.cast(a, tf.float64) * tf.cast(b, tf.float64)) for a, b in zip(first, second)
    ]
    return tf.add_n([tf.reduce_sum(product, axis=1) for product in flat])


@registry.register("fedhca2")
def fedhca2(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """Experts, numerical projection and towers are personal; gates and batch normalisation stay;
    embeddings by their feature's policy.
    """
    rules = (
        ("expert/*/shared", "shared"),
        ("numeric", "shared"),
        ("tower/*", "shared"),
        *sharing.feature_rules(schema),
    )

    def initial_extra(layout: variables.ModelVariables, clients: int) -> base.Values:
        first: collections.OrderedDict[str, tf.Tensor] = collections.OrderedDict()
        first[f"weight/{ENCODER}"] = tf.fill([clients], settings.weight)
        for layer, leaves in decoders(layout).items():
            first[f"weight/{layer}"] = tf.fill(
                [clients * max(len(specs) for specs in leaves.values())], settings.weight
            )
        # What each client was last moved along.
        first.update(
            (f"moved/{s.name}", tf.zeros([clients, *s.shape]))
            for s in layout.joined(variables.PERSONAL)
        )
        return first

    def aggregate(
        layout: variables.ModelVariables,
        tasks: tuple[str, ...],
        state: base.ServerState,
        reports: base.ClientReports,
    ) -> tuple[base.ServerState, base.Diagnostics]:
        personal, extra = (
            collections.OrderedDict(state.personal),
            collections.OrderedDict(state.extra),
        )
        diagnostics: collections.OrderedDict[str, tf.Tensor] = collections.OrderedDict()

        def learned(
            part: str, deltas: list[tf.Tensor], moved: list[tf.Tensor], members: tf.Tensor
        ) -> tf.Tensor:
            length = tf.sqrt(_inner(deltas, deltas) * _inner(moved, moved))
            agreement = tf.math.divide_no_nan(_inner(deltas, moved), length)
            weight = tf.cast(state.extra[f"weight/{part}"], tf.float64)
            stepped = tf.clip_by_value(weight + settings.rate * agreement, 0.0, 1.0)
            extra[f"weight/{part}"] = tf.cast(tf.where(members, stepped, weight), tf.float32)
            diagnostics[f"weight/{part}"] = extra[f"weight/{part}"]
            return extra[f"weight/{part}"]

        def move(
            spec: variables.VariableSpec, along: tf.Tensor, weight: tf.Tensor, members: tf.Tensor
        ) -> None:
            trained, before = reports.values[spec.name], state.personal[spec.name]
            own = tf.where(mix.broadcast_like(reports.present, along), trained, before)
            personal[spec.name] = tf.where(
                mix.broadcast_like(members, along),
                trained + mix.broadcast_like(weight, along) * along,
                own,
            )
            extra[f"moved/{spec.name}"] = tf.where(
                mix.broadcast_like(members, along), along, state.extra[f"moved/{spec.name}"]
            )

        def delta(spec: variables.VariableSpec) -> tf.Tensor:
            return reports.values[spec.name] - state.personal[spec.name]

        specs = encoder(layout)
        deltas = [delta(spec) for spec in specs]
        if specs:
            weight = learned(
                ENCODER,
                deltas,
                [state.extra[f"moved/{spec.name}"] for spec in specs],
                reports.present,
            )
            gram = gram_lib.gram(deltas)
            update = conflict.conflict_averse(gram, reports.present, settings.radius)[tf.newaxis]
            for spec, own in zip(specs, deltas):
                move(
                    spec,
                    tf.broadcast_to(mix.combine(update, own), tf.shape(own)),
                    weight,
                    reports.present,
                )
            diagnostics[f"gram/{ENCODER}"] = gram
            diagnostics[f"conflict_share/{ENCODER}"] = conflict.conflict_share(
                gram, reports.present
            )
        for layer, leaves in decoders(layout).items():
            owners = next(iter(leaves.values()))
            serving = [reports.taking_part(spec, tasks) for spec in owners]
            members = tf.concat(serving, axis=0)
            stacked = [tf.concat([delta(spec) for spec in own], axis=0) for own in leaves.values()]
            before = [
                tf.concat([state.extra[f"moved/{spec.name}"] for spec in own], axis=0)
                for own in leaves.values()
            ]
            weights = tf.split(learned(layer, stacked, before, members), len(owners))
            for own, joined in zip(leaves.values(), stacked):
                size = int(tf.TensorShape(own[0].shape).num_elements())
                attended = mix.combine(attention(gram_lib.gram([joined]), size, members), joined)
                for spec, along, weight, here in zip(
                    own, tf.split(attended, len(own)), weights, serving
                ):
                    move(spec, along, weight, here)
        consensus = base.consensus(layout, tasks, state, reports, personal)
        common = fedavg.average(layout, tasks, state.common, reports)
        return base.ServerState(state.round + 1, common, personal, consensus, extra), diagnostics

    return base.Algorithm(
        "fedhca2",
        sharing.SharingPolicy(rules),
        ("expert", "numeric", "tower"),
        aggregate,
        initial_extra=initial_extra,
    )
