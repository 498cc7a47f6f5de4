"""FedHCA2: encoders take a conflict-averse common update, decoders one attended over clients, both by weights learned for each client.

Formula, with Delta[k] = W[k] - P[k]. Encoder: `U` is the conflict-averse update (`aggregation.conflict`) of all encoders,
`P'[k] = W[k] + a[k] * U`. Decoder of a task: `T[k] = sum over j of softmax over j of (Delta[k]'Delta[j] / sqrt(d)) * Delta[j]`,
`P'[k] = W[k] + b[k] * T[k]`. The hyper weights a and b descend the clients' losses by what a client's next update says of the direction
that it was moved in: `a[k] += rate * <Delta[k], U>`, within 0 to 1. Weights of zero with a rate of zero are local training of all
personal variables.

[ours] The product is a cosine: the updates are Adam's, whose lengths are no gradients'. Encoders are experts and the projection of
numerical features, decoders are towers; gates and batch normalisation stay; shared tables are averaged by rows seen, as in all
algorithms here.

References:
  Lu et al., "FedHCA2: Towards Hetero-Client Federated Multi-Task Learning", CVPR 2024.
"""

import collections
import dataclasses

import tensorflow as tf

from pfrec import errors, groups
from pfrec.data import schema as schema_lib
from tff_process import layout as layout_lib
from tff_process.aggregation import conflict, mix
from tff_process.aggregation import gram as gram_lib
from tff_process.algorithms import base, fedavg

ENCODER = "encoder"
_ENCODERS = ("expert", "numeric")


@dataclasses.dataclass(frozen=True)
class Settings:
    """FedHCA2's knobs.

    Attributes:
      radius: c of the conflict-averse update, 0 to below 1.
      weight: the hyper weights at first, 0 to 1.
      rate: their step size; 0 keeps them as they are.
    """

    radius: float = 0.4
    weight: float = 0.1
    rate: float = 0.01

    def __post_init__(self) -> None:
        if not 0.0 <= self.radius < 1.0 or not 0.0 <= self.weight <= 1.0 or not 0.0 <= self.rate < float("inf"):
            raise errors.PfrecError("fedhca2: radius must be 0 to below 1, weight 0 to 1, and rate must not be negative")


def parts(layout: layout_lib.Layout) -> "dict[str, list[layout_lib.Slot]]":
    """The personal variables by hyper weight: the encoder's together, each decoder's by itself."""
    found: dict[str, list[layout_lib.Slot]] = {}
    for slot in layout.joined(layout_lib.PERSONAL):
        found.setdefault(ENCODER if slot.kind in _ENCODERS else slot.group, []).append(slot)
    return found


def attention(gram: tf.Tensor, size: int, members: tf.Tensor) -> tf.Tensor:
    """float64 [N, N]: softmax over the members of the updates' inner products by the root of their size; a row of zeros for the others."""
    here = tf.cast(members, tf.float64)
    logits = gram / tf.sqrt(tf.constant(float(size), tf.float64)) + tf.math.log(here)[tf.newaxis, :]
    # A row of nothing but -inf is NaN, which the mask takes away.
    return tf.math.multiply_no_nan(tf.nn.softmax(logits), here[:, tf.newaxis] * tf.ones_like(gram))


def _inner(first: "list[tf.Tensor]", second: "list[tf.Tensor]") -> tf.Tensor:
    """Inner products over some variables together, float64 [N], of values [N, ...]."""
    flat = [tf.reshape(tf.cast(a, tf.float64) * tf.cast(b, tf.float64), [tf.shape(a)[0], -1]) for a, b in zip(first, second)]
    return tf.add_n([tf.reduce_sum(product, axis=1) for product in flat])


def fedhca2(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """Experts, numerical projection and towers are personal; gates and batch normalisation stay; embeddings by their feature's policy."""
    rules = (("expert/*/shared", "shared"), ("numeric", "shared"), ("tower/*", "shared"), *groups.feature_rules(schema))

    def initial_extra(layout: layout_lib.Layout, clients: int) -> base.Values:
        first: collections.OrderedDict[str, tf.Tensor] = collections.OrderedDict()
        for part, slots in parts(layout).items():
            first[f"weight/{part}"] = tf.fill([clients], settings.weight)
            # What each client was last moved along.
            first.update((f"moved/{slot.name}", tf.zeros([clients, *slot.shape])) for slot in slots)
        return first

    def aggregate(
        layout: layout_lib.Layout, tasks: "tuple[str, ...]", state: base.ServerState, updates: base.Updates
    ) -> "tuple[base.ServerState, base.Diagnostics]":
        personal, extra = collections.OrderedDict(state.personal), collections.OrderedDict(state.extra)
        diagnostics: collections.OrderedDict[str, tf.Tensor] = collections.OrderedDict()
        for part, slots in parts(layout).items():
            members = updates.present
            if part != ENCODER:
                members = members & (updates.serves[:, tasks.index(slots[0].member)] > 0)
            deltas = [updates.values[slot.name] - state.personal[slot.name] for slot in slots]
            moved = [state.extra[f"moved/{slot.name}"] for slot in slots]
            length = tf.sqrt(_inner(deltas, deltas) * _inner(moved, moved))
            agreement = tf.math.divide_no_nan(_inner(deltas, moved), length)
            weight = tf.cast(state.extra[f"weight/{part}"], tf.float64)
            learned = tf.clip_by_value(weight + settings.rate * agreement, 0.0, 1.0)
            weight = tf.cast(tf.where(members, learned, weight), tf.float32)
            gram = gram_lib.gram(deltas)
            if part == ENCODER:
                one = conflict.conflict_averse(gram, members, settings.radius)
                directions = tf.tile(one[tf.newaxis], [tf.shape(gram)[0], 1])
            else:
                directions = attention(gram, sum(int(tf.TensorShape(slot.shape).num_elements()) for slot in slots), members)
                diagnostics[f"attention/{part}"] = directions
            for slot, delta, before in zip(slots, deltas, moved):
                along = mix.combine(directions, delta)
                here = mix.along(members, along)
                aggregated = updates.values[slot.name] + mix.along(weight, along) * along
                own = tf.where(mix.along(updates.present, along), updates.values[slot.name], state.personal[slot.name])
                personal[slot.name] = tf.where(here, aggregated, own)
                extra[f"moved/{slot.name}"] = tf.where(here, along, before)
            extra[f"weight/{part}"] = weight
            diagnostics[f"weight/{part}"], diagnostics[f"gram/{part}"] = weight, gram
            diagnostics[f"conflict_share/{part}"] = conflict.conflict_share(gram, members)
        template = collections.OrderedDict((name, mix.weighted_mean(value, updates.examples)) for name, value in personal.items())
        common = fedavg.average(layout, state.common, updates)
        return base.ServerState(state.round + 1, common, personal, template, extra), diagnostics

    return base.Algorithm(
        "fedhca2", groups.SharingPolicy(rules), ("expert", "numeric", "tower"), aggregate, initial_extra=initial_extra
    )
