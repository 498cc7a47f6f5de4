"""What a client does in a round, where that is more than training what it received.

A strategy is the client's half of an algorithm. It names the optimizers that it needs and what it
keeps between rounds beside the plain private state; from both the process derives its types. Its
`train` is pure TensorFlow on a `work_lib.ClientModel`.

Whatever is to be evaluated, saved and exported is kept under the variables' own names: where a
private state holds a value under the name of a variable it goes over the server's, in
`measuring.evaluate` as in `run_model.load` and in exports. So a strategy with
a personal model has nothing else to do for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pfrec import errors, lazy
from tff_process.client import forms, variables

with lazy.imports():
    import tensorflow as tf

    from tff_process.client import work as work_lib


# Of a number that leaves a client as it is.
FULL_BITS = 32


@dataclasses.dataclass(frozen=True)
class Kept:
    """A float32 tensor that a client keeps between rounds, and that never leaves it.

    Attributes:
      name: in the private state.
      shape: of it.
      initial: the value that all its elements start with.
      copy_of: the variable that it starts as a copy of; empty for none.
    """

    name: str
    shape: tuple[int, ...]
    initial: float = 0.0
    copy_of: str = ""


class Strategy:
    """Plain training: nothing is kept but the private variables and the moments of one
    optimizer.
    """

    # Further int64 scalars of a client's work that the driver sends.
    asked: tuple[str, ...] = ()
    # Whether it also sends the paths of the client's `valid` rows, as `valid_shards`.
    reads_valid = False
    # Bits of a number that leaves (`small_uploads`).
    upload_bits = FULL_BITS
    # Whether what leaves is for a sum (`summed_uploads`).
    summed = False
    # Whether its graph depends on how much of its rows a client goes over between aggregations.
    reckons_with_epochs = False

    def own_work(self, client_id: tf.Tensor, secret: tf.Tensor) -> work_lib.Values:
        """What of the client's own stands in the `work` of `train` besides; `secret` is int64 [2]
        and must not be told.
        """
        del client_id, secret
        return {}

    def optimizers(self, layout: variables.ModelVariables) -> Mapping[str, Sequence[str]]:
        """The names of the variables that each optimizer trains, by the prefix of its slots, which
        begins with `variables.OPTIMIZER`.
        """
        return {variables.OPTIMIZER: [spec.name for spec in layout.specs if spec.trainable]}

    def kept(self, layout: variables.ModelVariables) -> Sequence[Kept]:
        """What is kept besides private variables and optimizers."""
        del layout
        return ()

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        """One round of local training: trains `model` from what it is given.

        A strategy's own loads `inputs.private` and `inputs.incoming` into the model, trains it by
        `work_lib.train_steps` or `work_lib.for_each_batch` within `work_lib.in_graph`, and returns
        a private state of the same names.
        """
        return work_lib.train(model, inputs)

    def train_at_home(
        self,
        model: work_lib.ClientModel,
        settings: work_lib.TrainingSettings,
        private: work_lib.Values,
        work: work_lib.Values,
    ) -> work_lib.Values:
        """What becomes of a private state at home, after a client's last aggregation: the values of
        what changes, by name, of which nothing may be read by a `train` that follows.

        Args:
          model: to work in.
          settings: how to train.
          private: what `train` returned.
          work: as `train` was given it.
        """
        raise NotImplementedError("of private training alone, which asks for steps at home")


def require_known(strategy: Strategy, layout: variables.ModelVariables, of: str) -> None:
    """Checks that a strategy trains, and starts copies of, variables that the model has.

    Args:
      strategy: any.
      layout: of the client model.
      of: whose it is, for messages.

    Raises:
      PfrecError: where one is unknown, an optimizer's prefix is not what one begins with, or two
        things that are kept have one name.
    """
    known = {spec.name for spec in layout.specs}

    def require(name: str, place: str) -> None:
        if name not in known:
            raise errors.PfrecError(
                f"{place}: the model has no variable {name!r}; take names of layout.specs"
            )

    for prefix, names in strategy.optimizers(layout).items():
        if not prefix.startswith(variables.OPTIMIZER):
            raise errors.PfrecError(
                f"{of} optimizers: {prefix!r} does not begin with {variables.OPTIMIZER!r}"
            )
        for name in names:
            require(name, f"{of} optimizers")
    taken: set[str] = set()
    for item in strategy.kept(layout):
        if item.name in taken:
            raise errors.PfrecError(f"{of} kept: two have the name {item.name!r}; rename one")
        taken.add(item.name)
        if item.copy_of:
            require(item.copy_of, f"{of} kept")


def trained(
    strategy: Strategy, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
) -> work_lib.ClientRound:
    """What a strategy's `train` returns, and the check that it is a round of the form that the
    process gives: its types are made of what strategies say of themselves.

    Raises:
      PfrecError: where it is none, or holds other names, or values of other shapes.
    """
    done = strategy.train(model, inputs)
    of = f"what {type(strategy).__name__}.train returns"
    errors.require_kind(done, work_lib.ClientRound, of, "return a ClientRound, as work.in_graph")
    upload = done.upload
    if not strategy.summed and strategy.upload_bits == FULL_BITS:
        asked = {
            spec.name: tf.TensorSpec(spec.shape, tf.float32) for spec in inputs.layout.uploaded
        }
        upload = forms.tensors(
            f"`upload` of {of}", upload, asked, "upload model.upload(inputs.layout)"
        )
    private = forms.tensors(
        f"`private` of {of}", done.private, inputs.private, "`kept` names all that is kept besides"
    )
    return dataclasses.replace(done, upload=upload, private=private)


def personal_copies(layout: variables.ModelVariables) -> list[Kept]:
    """A personal value of every shared variable, under the variable's own name:
    what is evaluated and exported.
    """
    return [Kept(spec.name, spec.shape, copy_of=spec.name) for spec in layout.uploaded]


def second_copies(specs: Sequence[variables.VariableSpec], prefix: str) -> list[Kept]:
    """Copies of some variables for a second model, under names of their own."""
    return [Kept(prefix + spec.name, spec.shape, copy_of=spec.name) for spec in specs]


def of_variables(model: work_lib.ClientModel, private: work_lib.Values) -> work_lib.Values:
    """What a private state holds of the model's variables, under their own names."""
    return {name: value for name, value in private.items() if name in model.variables}


def of_optimizers(private: work_lib.Values) -> work_lib.Values:
    """What a private state holds of the optimizers."""
    return under(private, variables.OPTIMIZER, keep=True)


def under(private: work_lib.Values, prefix: str, keep: bool = False) -> work_lib.Values:
    """What a private state holds under a prefix, by the names without it,
    or with `keep` by the names as they are.
    """
    return {
        name if keep else name[len(prefix) :]: value
        for name, value in private.items()
        if name.startswith(prefix)
    }


def prefixed(values: work_lib.Values, prefix: str) -> work_lib.Values:
    """The values under names with a prefix."""
    return {prefix + name: value for name, value in values.items()}
