"""What a federated algorithm is: data, one pure function of the server,
and where it needs one a strategy of the client.

The frame does the rest alike for all: it gives each client its values, trains, stacks what comes
back along a client axis, and keeps the state. Everything here is TensorFlow without TFF and can be
called eagerly.
"""

from __future__ import annotations

import collections
import dataclasses
import weakref
from collections.abc import Mapping
from typing import Any, Callable, Optional, TypeVar

from pfrec import errors, lazy, sharing
from tff_process.client import forms, strategy, variables

with lazy.imports():
    import tensorflow as tf

    from tff_process.aggregation import mix

CONSENSUS, RECEIVED = variables.CONSENSUS, variables.RECEIVED
# Where a state's parts are averages (`averaging`), its extra holds what training goes on from under
# this prefix.
TRAINED = "trained/"
# The extra's name of the part, 0 to 1, of what the settings let clients take from one another that
# they take (`process.spread`).
SHARING = "sharing"
# The extra's name of the rows that the mean client has trained on since training began, over all
# runs that went on from one another and counted them.
ROWS_GONE = "rows_gone"
TRAINED_PARTS = ("common", "personal", "consensus")
TASK_KINDS = variables.TASK_KINDS

Values = Mapping[str, "tf.Tensor"]
Diagnostics = Mapping[str, "tf.Tensor"]
_Aggregate = TypeVar("_Aggregate", bound=Callable[..., Any])
_OF_MEANS: weakref.WeakSet[Any] = weakref.WeakSet()


@dataclasses.dataclass(frozen=True)
class ServerState:
    """What the server keeps between rounds.

    Attributes:
      round: int32 scalar, rounds done.
      common: values that all clients share.
      personal: values of which each client has its own, with a client axis first: [clients, ...].
      consensus: G, the mean of the personal variables over clients.
      extra: what the algorithm alone needs (as a server optimizer's moments).
    """

    round: Any
    common: Values
    personal: Values
    consensus: Values
    extra: Values


@dataclasses.dataclass(frozen=True)
class ClientReports:
    """What the clients sent in a round, stacked along a client axis;
    rows of absent clients hold zeros.

    Attributes:
      values: trained values of the shared variables, [clients, ...].
      seen: for each shared embedding table, float32 [clients, rows], how much a client's training
        of each row counts, see `server_step.rows_met`: about how many of its training rows hold
        the id, 0 where it left the row as it was.
      examples: float32 [clients], training rows.
      serves: float32 [clients, tasks], 1 where the client has observed labels of the task.
      present: bool [clients].
    """

    values: Values
    seen: Values
    examples: tf.Tensor
    serves: tf.Tensor
    present: tf.Tensor

    def taking_part(self, spec: variables.VariableSpec, tasks: tuple[str, ...]) -> tf.Tensor:
        """The clients present whose values of a variable say something, bool [clients]: of what
        belongs to a task, those that have labels of it.
        """
        if spec.kind not in TASK_KINDS:
            return self.present
        return self.present & (self.serves[:, tasks.index(spec.member)] > 0)

    def mean(
        self,
        spec: variables.VariableSpec,
        tasks: tuple[str, ...],
        values: tf.Tensor,
        previous: tf.Tensor,
    ) -> tf.Tensor:
        """The mean of a variable's values [clients, ...] over the clients that take part, weighted
        by their rows; `previous` [...] where none does.
        """
        if spec.kind not in TASK_KINDS:
            return mix.weighted_mean(values, self.examples)
        weights = self.examples * tf.cast(self.taking_part(spec, tasks), self.examples.dtype)
        mean = mix.weighted_mean(values, weights)
        return tf.where(tf.reduce_any(weights > 0), mean, previous)


def of_means(aggregate: _Aggregate) -> _Aggregate:
    """Marks an `Algorithm.aggregate` that comes to the same where every client reports the mean of
    all, weighted by rows (`ClientReports.mean`) and in tables by rows that moved, and no client
    gets a value of its own: a decorator. Such a server needs sums alone (`--secure_sums`).
    """
    _OF_MEANS.add(aggregate)
    return aggregate


def needs_means_alone(algorithm: Algorithm) -> bool:
    """Whether an algorithm's server is marked so."""
    return algorithm.aggregate in _OF_MEANS and not algorithm.personal_kinds


def no_extra(layout: variables.ModelVariables, clients: int) -> Values:
    """The `extra` of an algorithm that needs none."""
    del layout, clients
    return collections.OrderedDict()


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """A federated algorithm.

    Attributes:
      name: as given on the command line.
      policy: which variable groups leave a client.
      personal_kinds: kinds of which, where they leave, each client gets its own value back.
      aggregate: `(layout, tasks, state, reports) -> (state, diagnostics)`, pure; `tasks` are the
        task names in model order. Called only where at least one client is present.
      proximal: weight of the clients' pull towards `anchor`; 0 for none.
      anchor: what they are pulled towards: `CONSENSUS` (their experts to the server's consensus) or
        `RECEIVED` (all that is shared to the values of the round's start).
      initial_extra: makes `ServerState.extra` before the first round.
      client: what a client does in a round, and what it keeps for it.
      keeps_trained: whether what is served is not what training goes on from, which
        `ServerState.extra` holds then (`averaging`).
      in_sums: makes the algorithm in a form whose server needs means alone (`of_means`); None where
        it has no other form.
      finds_spread: whether how far apart clients' personal values stay is found on valid after
        every round (`training.spreading`).

    Raises:
      PfrecError: where `policy`, `personal_kinds`, `client` or `aggregate` is of another type, or
        `client` cannot be hashed.
    """

    name: str
    policy: sharing.SharingPolicy
    personal_kinds: tuple[str, ...]
    aggregate: Callable[
        [variables.ModelVariables, tuple[str, ...], ServerState, ClientReports],
        tuple[ServerState, Diagnostics],
    ]
    proximal: float = 0.0
    anchor: str = CONSENSUS
    initial_extra: Callable[[variables.ModelVariables, int], Values] = no_extra
    client: strategy.Strategy = strategy.Strategy()
    keeps_trained: bool = False
    in_sums: Optional[Callable[[], Algorithm]] = None
    finds_spread: bool = False

    def __post_init__(self) -> None:
        of = f"algorithm {self.name}"
        for name, kind, remedy in (
            ("policy", sharing.SharingPolicy, "give a sharing.SharingPolicy"),
            ("personal_kinds", (tuple, list, set, frozenset), 'give kinds, as ("expert",)'),
            ("client", strategy.Strategy, "give an object of a class derived from Strategy"),
        ):
            errors.require_kind(getattr(self, name), kind, f"{of}: {name}", remedy)
        if not callable(self.aggregate):
            raise errors.PfrecError(f"{of}: aggregate is no function; give one, see Algorithm")
        # Plans are keys of what is kept for them, their algorithms with them.
        object.__setattr__(self, "personal_kinds", tuple(self.personal_kinds))
        if type(self.client).__hash__ is None:
            raise errors.PfrecError(
                f"{of}: client, a {type(self.client).__name__}, cannot be hashed; make its "
                "dataclass frozen, by dataclasses.dataclass(frozen=True)"
            )

    def anchors(self, layout: variables.ModelVariables) -> list[variables.VariableSpec]:
        """What of the consensus a client is sent: what it is pulled towards,
        and nothing where it is not.
        """
        if not self.proximal or self.anchor != CONSENSUS:
            return []
        return [spec for spec in layout.joined(variables.PERSONAL) if spec.kind == "expert"]


def initial_state(
    algorithm: Algorithm, layout: variables.ModelVariables, clients: int, initial: Values
) -> ServerState:
    """The state before the first round: every client starts from the same values.

    Args:
      algorithm: which one.
      layout: of the client model.
      clients: how many there are.
      initial: the model's initial values by name.
    """
    personal = layout.joined(variables.PERSONAL)
    state = ServerState(
        round=tf.constant(0, tf.int32),
        common=collections.OrderedDict(
            (s.name, initial[s.name]) for s in layout.joined(variables.COMMON)
        ),
        personal=collections.OrderedDict(
            (s.name, tf.stack([initial[s.name]] * clients)) for s in personal
        ),
        consensus=collections.OrderedDict((s.name, initial[s.name]) for s in personal),
        extra=_extra(algorithm, layout, clients),
    )
    if not algorithm.keeps_trained:
        return state
    return dataclasses.replace(
        state, extra=collections.OrderedDict((*state.extra.items(), *trained_copies(state).items()))
    )


def _extra(algorithm: Algorithm, layout: variables.ModelVariables, clients: int) -> Values:
    made, place = algorithm.initial_extra(layout, clients), f"algorithm {algorithm.name}: its extra"
    errors.require_kind(made, Mapping, place, "let initial_extra return tensors by name")
    return collections.OrderedDict(
        (name, forms.tensor(f"{place} {name!r}", value)) for name, value in made.items()
    )


def consensus(
    layout: variables.ModelVariables,
    tasks: tuple[str, ...],
    state: ServerState,
    reports: ClientReports,
    personal: Values,
) -> collections.OrderedDict[str, tf.Tensor]:
    """G after an aggregation: the mean of the personal values [clients, ...] over the clients that
    take part, weighted by their rows, by name.
    """
    specs = {spec.name: spec for spec in layout.joined(variables.PERSONAL)}
    return collections.OrderedDict(
        (name, reports.mean(specs[name], tasks, value, state.consensus[name]))
        for name, value in personal.items()
    )


def trained_copies(state: ServerState) -> collections.OrderedDict[str, Any]:
    """The parts of a state as entries of `extra`."""
    return collections.OrderedDict(
        (f"{TRAINED}{part}/{name}", value)
        for part in TRAINED_PARTS
        for name, value in getattr(state, part).items()
    )


def training_parts(state: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a state that training goes on from, by name;
    `state` has the fields of `ServerState` as entries.
    """
    extra = state["extra"]

    def of(part: str) -> collections.OrderedDict[str, Any]:
        return collections.OrderedDict(
            (name, extra.get(f"{TRAINED}{part}/{name}", value))
            for name, value in state[part].items()
        )

    return {part: of(part) for part in TRAINED_PARTS}


def training_state(state: ServerState) -> ServerState:
    """The state with what training goes on from in place of what is served."""
    return dataclasses.replace(state, **training_parts(vars(state)))


def aggregated(
    algorithm: Algorithm,
    layout: variables.ModelVariables,
    tasks: tuple[str, ...],
    before: ServerState,
    reports: ClientReports,
) -> tuple[ServerState, Diagnostics]:
    """What an algorithm's `aggregate` returns, and the check that it is a state of the form that it
    was given, by what is known of it before there are values, and diagnostics.

    Raises:
      PfrecError: where it is something else, a part holds other names, or a value is of another
        shape or type.
    """
    made = algorithm.aggregate(layout, tasks, before, reports)
    of = f"algorithm {algorithm.name}"
    kinds = [type(part) for part in made] if isinstance(made, tuple) else [type(made)]
    if len(kinds) != 2 or kinds[0] != ServerState or not issubclass(kinds[1], Mapping):
        raise errors.PfrecError(
            f"{of}: its aggregate returns {' and '.join(kind.__name__ for kind in kinds)}; return "
            "a ServerState, as dataclasses.replace(state, common=...), and a dict of diagnostics"
        )
    after, diagnostics = made
    parts = {
        part: forms.tensors(
            f"`{part}` of the state that {of}'s aggregate returns",
            getattr(after, part),
            getattr(before, part),
            "return every value that it was given, also those that it does not change",
        )
        for part in ("common", "personal", "consensus", "extra")
    }
    for name, value in diagnostics.items():
        kind = forms.tensor(f"{of}: the diagnostic {name!r}", value).dtype
        if not (kind.is_floating or kind.is_integer or kind.is_bool):
            raise errors.PfrecError(f"{of}: the diagnostic {name!r} is {kind.name}; give numbers")
    return dataclasses.replace(after, **parts), diagnostics


def require_variances(
    name: str, layout: variables.ModelVariables, values: Mapping[str, Any]
) -> None:
    """Checks that an algorithm's `aggregate` left variances of batch normalisation what they are:
    the root of one below 0 is no number, of which a network's ReLU makes 0, so that all rows get
    the same prediction and nothing tells why.

    Args:
      name: of the algorithm.
      layout: of the client model.
      values: `common` and `personal` of a state that clients train from or that is served, arrays.

    Raises:
      PfrecError: where a variance is below 0 or no number.
    """
    for spec in layout.uploaded:
        if spec.kind == "batch_norm" and spec.name.endswith("variance"):
            least = values[spec.join][spec.name].min()
            if not least >= 0:
                raise errors.PfrecError(
                    f"algorithm {name}: its aggregate makes {least:.3g} of a variance, "
                    f"{spec.name!r}; take steps at the server with what is trainable alone "
                    "(`spec.trainable`), and average the rest"
                )


def consensus_distances(layout: variables.ModelVariables, state: ServerState) -> Diagnostics:
    """How far each client's personal values are from the consensus, by group:
    `||P[k] - G||`, float32 [clients].
    """
    squares: dict[str, list[tf.Tensor]] = {}
    for spec in layout.joined(variables.PERSONAL):
        difference = state.personal[spec.name] - state.consensus[spec.name]
        squares.setdefault(spec.group, []).append(
            tf.reduce_sum(tf.square(mix.flat(difference)), axis=1)
        )
    return collections.OrderedDict(
        (f"consensus_distance/{group}", tf.sqrt(tf.add_n(parts)))
        for group, parts in squares.items()
    )
