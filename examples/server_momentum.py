"""FedAvgM, an algorithm of one's own in one file: the server keeps its momentum.

Formula, with `d = mean of w[k] - w`: `m = decay * m + d`, `w += m`; decay 0 is FedAvg.

cd examples
pfrec-train --data=synthetic --algorithm=server_momentum:server_momentum --output=run
pfrec-compare --data=synthetic --algorithms=fedavg,server_momentum:server_momentum --output=both

References:
  Hsu et al., "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
  Classification", 2019.
"""

import collections
import dataclasses

import tensorflow as tf

from pfrec import settings as settings_lib
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedavg, registry
from tff_process.client import variables


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="momentum"):
    """Its fields are flags: --momentum_decay."""

    decay: float = settings_lib.setting(0.5, "share of the last step", low=0.0, below=1.0)


@registry.register("server_momentum")
def server_momentum(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """FedAvg with another step at the server."""

    def no_step(layout: variables.ModelVariables, clients: int) -> base.Values:
        # Batch statistics are averaged as they are: a step of a variance may go below zero.
        specs = [spec for spec in layout.joined(variables.COMMON) if spec.trainable]
        return collections.OrderedDict((spec.name, tf.zeros(spec.shape)) for spec in specs)

    def aggregate(layout, tasks, state, reports):  # as `base.Algorithm.aggregate`
        new, diagnostics = fedavg.aggregate(layout, tasks, state, reports)
        common, steps = collections.OrderedDict(new.common), collections.OrderedDict()
        for name, last in state.extra.items():
            steps[name] = settings.decay * last + common[name] - state.common[name]
            common[name] = state.common[name] + steps[name]
        return dataclasses.replace(new, common=common, extra=steps), diagnostics

    return dataclasses.replace(
        fedavg.fedavg(schema), name="server_momentum", aggregate=aggregate, initial_extra=no_step
    )
