"""SCAFFOLD: FedAvg whose clients correct every step by how their way differs from everybody's.

Formula: client k steps `y -= eta * (g - c[k] + c)` from the received x; then (option II)
`c[k]' = c[k] - c + (x - y) / (K * eta)` over its K steps, and c is the mean of all c[k].

[ours] Clients step by Adam, whose steps do not scale with gradients. So the correction enters after
Adam, in the unit of a step: with u Adam's step, `y += u + (d - d[k]) / K`. Here d[k] = -K eta c[k]
is what the client's own steps last added up to, and option II says just that of the new one:
`d[k]' = y - x - (d - d[k])`, the sum of all u. Their mean over clients is by how much the server's
values moved, `d = x - x_before`, which each client knows from what it received: nothing is sent
beside FedAvg's values, where the source sends every control as well. It is the mean by rows, as
FedAvg's here; of a client that was away it is the mean of the moves that it missed. Rows of shared
tables are not corrected: a client would move rows that it never met. `--scaffold_weight` scales the
correction: 0 is FedAvg.

References:
  Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning", ICML 2020,
  algorithm 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pfrec import lazy
from pfrec import settings as settings_lib
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedavg, registry
from tff_process.client import strategy, variables

with lazy.imports():
    import tensorflow as tf

    from tff_process.client import work as work_lib

OWN, BEFORE, DONE = "own_move/", "received_before/", "steps_done"


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="scaffold"):
    """SCAFFOLD's hyperparameters."""

    weight: float = settings_lib.setting(
        1.0, "how much of the correction is applied, 1 in the source; 0 is fedavg", low=0.0
    )


def corrected(layout: variables.ModelVariables) -> list[variables.VariableSpec]:
    """The variables whose steps are corrected."""
    return [spec for spec in layout.uploaded if spec.trainable and not spec.counts_rows]


class Controlled(strategy.Strategy):
    """SCAFFOLD's client: beside FedAvg's state its own last move and what it received before."""

    def __init__(self, settings: Settings) -> None:
        self._weight = settings.weight

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        specs = corrected(layout)
        moves = [strategy.Kept(OWN + spec.name, spec.shape) for spec in specs]
        return [*moves, *strategy.second_copies(specs, BEFORE), strategy.Kept(DONE, ())]

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        layout, private, work = inputs.layout, inputs.private, inputs.work
        names = [spec.name for spec in corrected(layout)]
        received = {name: inputs.incoming[name] for name in names}
        own, before = strategy.under(private, OWN), strategy.under(private, BEFORE)
        steps = tf.cast(work["steps"], tf.float32)
        first = tf.cast(work["first_step"], tf.float32)
        # Work begins where the last one ended, unless others' rounds lie between.
        moves = 1.0 + tf.maximum(tf.round((first - private[DONE]) / steps), 0.0)
        correction = {
            name: self._weight * ((received[name] - before[name]) / moves - own[name])
            for name in names
        }
        kept = {
            name: value
            for name, value in private.items()
            if name != DONE and not name.startswith((OWN, BEFORE))
        }

        @tf.autograph.experimental.do_not_convert
        def step(batch: Any, state: Any) -> Any:
            loss, gradients = work_lib.loss_and_gradients(
                model, inputs.settings, batch, inputs.anchors()
            )
            model.apply(gradients)
            if self._weight:
                for name in names:
                    model.variables[name].assign_add(correction[name] / steps)
            return loss, state

        def loop() -> Any:
            model.load(inputs.incoming)
            model.load(kept)
            done = work_lib.for_each_batch(model, inputs.settings, work, step, ())
            upload = model.upload(layout)
            moved = {name: upload[name] - received[name] - correction[name] for name in names}
            state = {
                **model.private_state(layout),
                **strategy.prefixed(moved, OWN),
                **strategy.prefixed(received, BEFORE),
                DONE: first + steps,
            }
            return state, upload, done.examples, done.loss

        return work_lib.in_graph(loop)


@registry.register("scaffold")
def scaffold(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """FedAvg at the server."""
    return dataclasses.replace(fedavg.fedavg(schema), name="scaffold", client=Controlled(settings))
