"""PF-MSMTrec in a form whose server needs means alone: what is personal is mixed at the client.

With plain-mean coordination and attention that is even, PF-MSMTrec's server makes each client's
values of that client's own and of means over all. So the server can keep the means, and the client
the rest. The server has one value G of each shared variable and is FedAvg; a client that trained W
from its own values P reports `G + (W - P)`, so that the next G has the mean of the changes in it,
`U = G' - G`. When it is asked to train again it knows U, and begins with

    P' = v W + (1 - v) (P + g (G - P) + U)

with v and g of `pf_msmtrec`: v = (1 - mu) n / (n + rows_prior), of a task that it has no labels of
1; in row r of a table v = n[r] / (n[r] + table_prior) and g = 0, with its own counts of ids, which
go nowhere. G stands for the mean of all P, which it is where v is the same at all clients.

What a client evaluates and exports are averages of its P, as the server's form has them: what it
trained since it began last is not in them yet, after the first aggregation nothing. W itself does
worse, being nobody else's.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pfrec import errors, lazy
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedavg
from tff_process.client import strategy, variables

with lazy.imports():
    import tensorflow as tf

    from tff_process.aggregation import mix
    from tff_process.client import counting
    from tff_process.client import work as work_lib

if TYPE_CHECKING:
    from tff_process.algorithms import pf_msmtrec

# Of a client's state, beside P: W, what it received before that, the rows that it trained on, and
# how often it holds each id.
ENDED, RECEIVED, ROWS, MET = "ended/", "received_before/", "rows_before", "met/"
_UNKNOWN = -1.0


class OwnMixing(strategy.Strategy):
    """The client of the form.

    Args:
      settings: of `pf_msmtrec`.
      tasks: their names, in model order.
      schema: of the rows.
      epochs: how much of its rows a client goes over between two aggregations.
    """

    reckons_with_epochs = True

    def __init__(
        self,
        settings: pf_msmtrec.Settings,
        tasks: tuple[str, ...],
        schema: schema_lib.Schema,
        epochs: float,
    ) -> None:
        self._settings, self._tasks, self._schema, self._epochs = settings, tasks, schema, epochs
        self._taken = {
            "expert": settings.mu,
            "tower": settings.tower_mu,
            "gate": settings.gate_mu,
            "numeric": settings.numeric_mu,
        }

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        own = self._mixed(layout)
        return [
            *(strategy.Kept(spec.name, spec.shape, copy_of=spec.name) for spec in own),
            *strategy.second_copies(own, ENDED),
            *strategy.second_copies(own, RECEIVED),
            strategy.Kept(ROWS, ()),
            *(
                strategy.Kept(MET + spec.member, spec.shape[:1], _UNKNOWN)
                for spec in own
                if spec.counts_rows
            ),
        ]

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        private, own = inputs.private, self._mixed(inputs.layout)
        met = self._met(inputs)
        begins = {spec.name: self._begins(spec, inputs, met) for spec in own}
        plain = {
            name: value
            for name, value in private.items()
            if name not in begins and name != ROWS and not name.startswith((ENDED, RECEIVED, MET))
        }
        incoming = collections.OrderedDict(
            (name, begins.get(name, value)) for name, value in inputs.incoming.items()
        )
        done = work_lib.train(model, dataclasses.replace(inputs, incoming=incoming, private=plain))
        upload = collections.OrderedDict(
            (name, inputs.incoming[name] + (value - begins[name]) if name in begins else value)
            for name, value in done.upload.items()
        )
        state = {
            **done.private,
            **begins,
            **strategy.prefixed({name: done.upload[name] for name in begins}, ENDED),
            **strategy.prefixed({name: inputs.incoming[name] for name in begins}, RECEIVED),
            **strategy.prefixed(met, MET),
            ROWS: done.examples,
        }
        return dataclasses.replace(done, private=state, upload=upload)

    def _mixed(self, layout: variables.ModelVariables) -> list[variables.VariableSpec]:
        """What of the shared variables is personal."""
        tables = self._settings.table_prior > 0
        return [
            spec
            for spec in layout.uploaded
            if spec.kind in self._taken or (spec.counts_rows and tables)
        ]

    def _begins(
        self, spec: variables.VariableSpec, inputs: work_lib.ClientInputs, met: work_lib.Values
    ) -> tf.Tensor:
        """P' of the formula."""
        private, settings = inputs.private, self._settings
        began, trained = private[spec.name], private[ENDED + spec.name]
        before = private[RECEIVED + spec.name]
        change = inputs.incoming[spec.name] - before
        if spec.counts_rows:
            moved = tf.reduce_any(tf.not_equal(trained, began), axis=-1)
            seen = tf.where(
                moved, tf.maximum(met[spec.member], 1.0), tf.zeros_like(met[spec.member])
            )
            weight = mix.own_weight(seen, settings.table_prior)[:, tf.newaxis]
            return weight * trained + (1.0 - weight) * (began + change)
        own, prior = 1.0 - self._taken[spec.kind], settings.rows_prior * self._epochs
        weight = tf.constant(own)
        if prior:
            weight = own * mix.own_weight(private[ROWS], prior)
        offered = began + settings.attraction * (before - began) + change
        mixed = weight * trained + (1.0 - weight) * offered
        if spec.kind not in variables.TASK_KINDS:
            return mixed
        return tf.where(inputs.work["serves"][self._tasks.index(spec.member)] > 0, mixed, trained)

    def _met(self, inputs: work_lib.ClientInputs) -> work_lib.Values:
        """How often the client holds each id of its tables, by feature; counted once."""
        specs = [spec for spec in self._mixed(inputs.layout) if spec.counts_rows]
        kept = [inputs.private[MET + spec.member] for spec in specs]
        if not specs:
            return {}

        # Its own loops are rewritten; what is around them need not be.
        @functools.partial(tf.function, autograph=False)
        def counted() -> Any:
            def count() -> Any:
                found = counting.count_ids(inputs.layout, self._schema, inputs.work["shards"])
                return [found[spec.name] for spec in specs]

            return tf.cond(tf.reduce_any(kept[0] < 0.0), count, lambda: kept)

        return {spec.member: value for spec, value in zip(specs, counted())}


def in_sums(
    algorithm: base.Algorithm,
    settings: pf_msmtrec.Settings,
    schema: schema_lib.Schema,
    epochs: float,
) -> base.Algorithm:
    """PF-MSMTrec in this form.

    Raises:
      PfrecError: where its settings need single updates, or are of the other form alone.
    """
    for wrong, told in (
        (
            settings.coordination != "mean",
            f"--pf_coordination={settings.coordination} compares or joins single updates, which a "
            "sum does not hold; take --pf_coordination=mean, whose mixing is then the clients' own "
            "and whose attention is even",
        ),
        (
            settings.log_counts or not settings.weigh_by_rows,
            "--pf_log_counts and --nopf_weigh_by_rows weigh clients otherwise than sums do",
        ),
        (
            settings.temperature < type(settings)().temperature,
            f"--pf_temperature={settings.temperature:g} is of attention by single updates, which "
            "is even in sums; leave it out",
        ),
        (settings.proximal > 0, "--pf_proximal pulls to a consensus that the server does not have"),
        (settings.quick_start > 0, "--pf_quick_start needs the lengths of single updates"),
        (settings.server_step < 1, "--pf_server_step is of the server's own mixing"),
    ):
        if wrong:
            raise errors.PfrecError(f"--secure_sums with pf_msmtrec: {told}")
    tasks = tuple(task.name for task in schema.tasks)
    return dataclasses.replace(
        algorithm,
        personal_kinds=(),
        aggregate=fedavg.aggregate,
        initial_extra=base.no_extra,
        finds_spread=False,
        client=OwnMixing(settings, tasks, schema, epochs),
    )
