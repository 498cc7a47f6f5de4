"""The TFF types of the values that pass between clients and server."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from pfrec import metrics
from pfrec.models import adam
from tff_process.client import small_uploads, summed_uploads, variables
from tff_process.client import work as work_lib
from tff_process.finishing import home
from tff_process.process import collecting, server_step
from tff_process.process.spec import ProcessSpec

OD = collections.OrderedDict

# Of a client: `pipeline.order_seed` is made of it.
SECRET = tff.TensorType(np.int64, [2])
_SHARDS = tff.TensorType(np.str_, [None])


@dataclasses.dataclass(frozen=True)
class ProcessTypes:
    """The types of a process.

    Attributes:
      state: what the server keeps.
      shared: what every client may see of it.
      personal: a client's number, and the values that it alone gets.
      private: what a client keeps.
      client: a client that trains: its number, private state, secret, work, and the tasks that it
        has labels of.
      finishing_client: a client that finishes what it serves: as `client`, with other work.
      whole: all variables of a client's model.
      evaluation_client: a client that evaluates: its number, private state and shards.
      spreads: how far apart to evaluate a client: `factors`, and the `consensus` of personal values
        (`spread.scaled`).
      spreads_client: a client that does: as `evaluation_client`, with the tasks that it has labels
        of, and `spreads`.
      sent: what leaves a client after its round.
      report: what the server learns of it: `sent`, decoded (`small_uploads.decoded`), or the
        mean of all clients' (`summed_uploads.report_of`).
      collected: the reports of a round, stacked along a client axis.
      counts: by shared table, how often a client holds each id.
      metrics: of a client's model, [tasks, metrics].
      spreads_metrics: the same of each factor, [factors, tasks, metrics].
    """

    state: tff.StructType
    shared: tff.StructType
    personal: tff.StructType
    private: tff.StructType
    client: tff.StructType
    finishing_client: tff.StructType
    whole: tff.StructType
    evaluation_client: tff.StructType
    spreads: tff.StructType
    spreads_client: tff.StructType
    sent: tff.StructType
    report: tff.StructType
    collected: tff.StructType
    counts: tff.StructType
    metrics: tff.TensorType
    spreads_metrics: tff.TensorType


def types_of(spec: ProcessSpec) -> ProcessTypes:
    """The types of a process."""
    algorithm, layout, tasks = spec.algorithm, spec.layout, len(spec.tasks)
    number, serves = tff.TensorType(np.int32), tff.TensorType(np.float32, [tasks])

    def report_of(values: "OD[str, Any]") -> tff.StructType:
        one = tff.TensorType(np.float32)
        return tff.to_type(OD(values=values, examples=one, serves=serves, loss=one))

    with tf.Graph().as_default():
        state = _types_of_tensors(server_step.initial_state(spec, spec.initial))
    shared = OD(
        common=_of_variables(layout.joined(variables.COMMON)),
        consensus=_of_variables(algorithm.anchors(layout)),
    )
    personal = OD(client_id=number, values=_of_variables(layout.joined(variables.PERSONAL)))
    private = _private(spec)
    report = report_of(_of_variables(layout.uploaded))
    evaluation_client = OD(client_id=number, private=private, shards=_SHARDS)
    spreads = OD(
        factors=tff.TensorType(np.float32, [None]),
        consensus=_of_variables(layout.joined(variables.PERSONAL)),
    )
    measured = [tasks, len(metrics.METRICS)]

    def client_of(work: "OD[str, tff.TensorType]") -> tff.StructType:
        return tff.to_type(
            OD(client_id=number, private=private, secret=SECRET, work=work, serves=serves)
        )

    return ProcessTypes(
        state=tff.to_type(state),
        shared=tff.to_type(shared),
        personal=tff.to_type(personal),
        private=private,
        client=client_of(_work(spec)),
        finishing_client=client_of(_finishing(spec)),
        whole=tff.to_type(_of_variables(layout.specs)),
        evaluation_client=tff.to_type(evaluation_client),
        spreads=tff.to_type(spreads),
        spreads_client=tff.to_type(OD(**evaluation_client, serves=serves, spreads=spreads)),
        sent=report_of(_sent(spec)),
        report=report,
        collected=collecting.collected_type(report, spec.client_count),
        counts=tff.to_type(
            OD((s.name, tff.TensorType(np.float32, [s.shape[0]])) for s in spec.counted)
        ),
        metrics=tff.TensorType(np.float64, measured),
        spreads_metrics=tff.TensorType(np.float64, [None, *measured]),
    )


def _work(spec: ProcessSpec) -> "OD[str, tff.TensorType]":
    """What a client is asked to do, see `work_lib.ClientInputs`."""
    numbers = ("seed", "first_step", "steps", "epoch_steps", *spec.algorithm.client.asked)
    weights = tff.TensorType(np.float32, [len(spec.tasks)])
    return OD(
        shards=_SHARDS,
        **dict.fromkeys(numbers, tff.TensorType(np.int64)),
        **({"valid_shards": _SHARDS} if spec.algorithm.client.reads_valid else {}),
        # A value, so that a comparison that tunes it traces its graphs once.
        learning_rate=tff.TensorType(np.float32),
        task_weights=weights,
        positive_weights=weights,
    )


def _finishing(spec: ProcessSpec) -> "OD[str, tff.TensorType]":
    """What a client is asked to do to finish what it serves."""
    number, weights = tff.TensorType(np.int64), tff.TensorType(np.float32, [len(spec.tasks)])
    return OD(
        [
            ("shards", _SHARDS),
            (home.VALID, _SHARDS),
            (home.TEST, _SHARDS),
            ("seed", number),
            (home.STEPS, number),
            (home.EPOCH_STEPS, number),
            ("learning_rate", tff.TensorType(np.float32)),
            ("task_weights", weights),
            ("positive_weights", weights),
        ]
    )


def _sent(spec: ProcessSpec) -> "OD[str, Any]":
    """The values of a report as they leave a client."""
    if spec.algorithm.client.summed:
        shapes = summed_uploads.shapes(spec.layout)
        return OD((name, tff.TensorType(np.int64, shape)) for name, shape in shapes.items())
    bits = spec.algorithm.client.upload_bits
    types: OD[str, Any] = _of_variables(spec.layout.uploaded)
    for variable in small_uploads.rounded(spec.layout, bits):
        types[variable.name] = OD(
            [
                (small_uploads.CODES, tff.TensorType(small_uploads.kind(bits), variable.shape)),
                (small_uploads.SCALE, tff.TensorType(np.float32)),
            ]
        )
    return types


def _private(spec: ProcessSpec) -> tff.StructType:
    client, layout = spec.algorithm.client, spec.layout
    return tff.to_type(
        OD(
            (
                *_of_variables(layout.joined(variables.PRIVATE)).items(),
                *_of_optimizers(client.optimizers(layout), layout).items(),
                *((k.name, tff.TensorType(np.float32, k.shape)) for k in client.kept(layout)),
            )
        )
    )


def _of_variables(specs: "Sequence[variables.VariableSpec]") -> "OD[str, tff.TensorType]":
    return OD((s.name, tff.TensorType(np.float32, s.shape)) for s in specs)


def _of_optimizers(
    optimizers: "Mapping[str, Sequence[str]]", layout: variables.ModelVariables
) -> "OD[str, tff.TensorType]":
    """The types of the optimizers' slots: optimizers of stand-ins have the same,
    and a third network need not be built.
    """
    shapes = {spec.name: spec.shape for spec in layout.specs}
    types: OD[str, tff.TensorType] = OD()
    with tf.Graph().as_default():
        for prefix, names in optimizers.items():
            stand_ins = [tf.Variable(tf.zeros(shapes[name])) for name in names]
            slots = work_lib.optimizer_slots(adam.Adam(stand_ins), prefix)
            types.update(
                (name, tff.TensorType(np.float32, list(slot.shape))) for name, slot in slots.items()
            )
    return types


def _types_of_tensors(value: Any) -> Any:
    if isinstance(value, Mapping):
        return OD((name, _types_of_tensors(inner)) for name, inner in value.items())
    return tff.TensorType(value.dtype.as_numpy_dtype, value.shape.as_list())
