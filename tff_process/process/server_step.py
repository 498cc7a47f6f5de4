"""What the server does: its first state, what clients may see of a state, and an aggregation."""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_process.algorithms import base
from tff_process.process.spec import ProcessSpec

OD = collections.OrderedDict


def initial_state(spec: ProcessSpec, values: "Mapping[str, Any]") -> "OD[str, Any]":
    """The server's state before the first round, of the model's initial values by name."""
    state = base.initial_state(
        spec.algorithm,
        spec.layout,
        spec.client_count,
        {name: tf.constant(value) for name, value in values.items()},
    )
    counts = OD((s.name, tf.zeros([spec.client_count, s.shape[0]])) for s in spec.counted)
    return _struct(state, counts)


def training_values(state: Any) -> "Mapping[str, Any]":
    """`common`, `personal` and `consensus` that clients train from."""
    return base.training_parts(state)


def served_values(state: Any) -> "Mapping[str, Any]":
    """`common`, `personal` and `consensus` that are evaluated and exported: averages, where the
    algorithm keeps them (`averaging`).
    """
    return {part: state[part] for part in base.TRAINED_PARTS}


def shared_values(state: Any, shared_type: tff.StructType) -> Any:
    """What every client may see of one of these: the common values,
    and the part of the consensus that `shared_type` names.
    """
    anchors = tff.structure.name_list(shared_type["consensus"])
    return OD(
        common=state["common"], consensus=OD((name, state["consensus"][name]) for name in anchors)
    )


@dataclasses.dataclass(frozen=True)
class ServerStep:
    """The server's part of a process.

    Attributes:
      spec: of the process.
    """

    spec: ProcessSpec

    def aggregate(self, state: Any, collected: Any) -> Any:
        """`(state, collected) -> (state, report of the round)`."""
        layout, report = self.spec.layout, collected["value"]
        reports = self._reports(state, report, collected["present"])
        before = base.ServerState(
            **{field.name: state[field.name] for field in dataclasses.fields(base.ServerState)}
        )
        after, diagnostics = base.aggregated(
            self.spec.algorithm, layout, self.spec.tasks, before, reports
        )
        distances = base.consensus_distances(layout, after)
        told = OD(
            examples=reports.examples,
            loss=report["loss"],
            present=reports.present,
            diagnostics=OD((*diagnostics.items(), *distances.items())),
        )
        return _struct(after, state["row_counts"]), told

    def _reports(self, state: Any, report: Any, present: tf.Tensor) -> base.ClientReports:
        trained_from = training_values(state)
        before = {**trained_from["common"], **trained_from["personal"]}
        seen = OD(
            (name, rows_met(counts, report["values"][name], before[name], present))
            for name, counts in state["row_counts"].items()
        )
        return base.ClientReports(
            report["values"], seen, report["examples"], report["serves"], present
        )


def rows_met(
    counts: tf.Tensor, trained: tf.Tensor, before: tf.Tensor, present: tf.Tensor
) -> tf.Tensor:
    """How much each client's training of each row of a shared table counts,
    of what the server knows anyhow.

    A row that training left as it was, the client has not met. One that moved counts as the client
    said at the run's start, and at least 1: ids below `coarsening.FLOOR` are said to be met 0
    times, as all are where counts are withheld.

    Args:
      counts: [clients, ids], `coarsening.id_counts`.
      trained: [clients, ids, d], the clients' values.
      before: [clients, ids, d] or [ids, d], what they started from.
      present: bool [clients]; rows of absent ones count 0.

    Returns:
      [clients, ids].
    """
    moved = tf.reduce_any(tf.not_equal(trained, before), axis=-1) & present[:, tf.newaxis]
    return tf.where(moved, tf.maximum(counts, 1.0), tf.zeros_like(counts))


def _struct(state: base.ServerState, row_counts: "Mapping[str, tf.Tensor]") -> "OD[str, Any]":
    fields = dataclasses.fields(base.ServerState)
    return OD((*((f.name, getattr(state, f.name)) for f in fields), ("row_counts", row_counts)))
