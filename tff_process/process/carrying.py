"""What a finished run holds, carried over to a training on other data, so that it means the same.

Rows of tables go by what their ids stand for (`row_maps`), so new ids take a fresh row, without
moments, and the others keep theirs, wherever they stand now. Where numbers are normalised by other
statistics than before, the means and variances of the first batch normalisation are restated in the
new units: with x = (raw - m) / s and x' = (raw - m') / s', mean' = (mean s + m - m') / s' and
var' + e = (var + e) (s / s')^2, where e is what batch normalisation adds to a variance. That leaves
the answers to raw rows as they were.

A scenario that is new starts as a newcomer does (`joining`), from the consensus of what is personal
and the common values. Averages of what is served begin anew, so that they do not reach back over
older data; rows of tables are counted anew.
"""

import collections
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Protocol

import numpy as np

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.models import adam
from tff_process.algorithms import averaging
from tff_process.client import small_uploads, variables
from tff_process.process import federation, row_maps

_log = logging.getLogger(__name__)
_NOT_CARRIED = ("round", "row_counts")
_INPUT_STATISTICS = "numeric/normalise"
# What the model's meaning is in as well, or what was left out of uploads of the run before.
_ANEW = (variables.OPTIMIZER, small_uploads.LEFT_OUT)
_EPSILON = 1e-3  # Keras's

Values = Mapping[str, np.ndarray]


class _Variable(Protocol):
    """What is asked of a `variables.VariableSpec` or a `groups.TaggedVariable`."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def member(self) -> str: ...


class Meaning:
    """What changes in the meaning of values from one schema to another of the same features.

    Args:
      old, new: the schemas.
      place: of the finished run, for messages.
    """

    def __init__(self, old: schema_lib.Schema, new: schema_lib.Schema, place: str) -> None:
        self.new, self._place = new, place
        self._maps = row_maps.of_schemas(old, new)
        self._old_rows = {f.name: f.cardinality + 1 for f in old.categorical}
        shift, scale = (
            [np.array([getattr(c, of) for c in s.numerical]) for s in (old, new)]
            for of in ("shift", "scale")
        )
        self._scale = scale[0] / scale[1]
        self._shift = (shift[0] - shift[1]) / scale[1]

    def carried(self, variable: _Variable, value: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """A variable's value, or the moment of one, in the new meaning.

        Args:
          variable: which one.
          value: what the finished run has.
          fresh: what it has where nothing is carried over.

        Raises:
          PfrecError: where the shapes are others.
        """
        if variable.kind == "embedding" and variable.member in self._maps:
            return row_maps.taken(value, fresh, self._maps[variable.member])
        if value.shape != fresh.shape:
            raise errors.PfrecError(
                f"{self._place}: {variable.name} has shape {list(value.shape)}, not "
                f"{list(fresh.shape)}; train anew"
            )
        if variable.kind == "batch_norm" and variable.member == _INPUT_STATISTICS:
            if variable.name.endswith("mean"):
                return (value * self._scale + self._shift).astype(value.dtype)
            restated = (value + _EPSILON) * self._scale**2 - _EPSILON
            return np.maximum(restated, 0.0).astype(value.dtype)
        return value

    def old_shape(self, spec: variables.VariableSpec) -> "tuple[int, ...]":
        """The shape that a variable had."""
        if spec.kind == "embedding":
            return (self._old_rows[spec.member], *spec.shape[1:])
        return spec.shape

    def tell_new_words(self, scenario: str) -> None:
        """Logs how many words of each vocabulary have a fresh row."""
        for feature in self.new.categorical:
            new = row_maps.new_words(feature, self._maps[feature.name])
            if new:
                known = len(feature.vocabulary)
                _log.info(
                    "%s: %d of %d values of %r are new to the run and start afresh",
                    *(scenario, new, known, feature.raw),
                )


def columns(schema: schema_lib.Schema) -> "dict[str, Any]":
    """A schema without what may differ from one week to the next: how many ids there are of what
    is not hashed, and what they are called.
    """
    value = schema.to_json()
    for feature in value["categorical"]:
        feature.pop("vocabulary", None)
        if feature["encoding"] != "hash":
            feature.pop("cardinality")
    return value


class Carrying:
    """Carries values over to a federated training.

    Args:
      made: the training.
    """

    def __init__(self, made: federation.Federation) -> None:
        self._scenarios = made.dataset.scenarios
        self._specs = {spec.name: spec for spec in made.layout.specs}
        self._optimizers = made.algorithm.client.optimizers(made.layout)

    def server(
        self, old: Values, before: "Sequence[str]", fresh: Values, meaning: Meaning
    ) -> "dict[str, np.ndarray]":
        """The server's tensors.

        Args:
          old: those of the finished run.
          before: its scenarios.
          fresh: those of the training that has not begun.
          meaning: of the agreed schemas, since of shared tables all clients' ids mean the same.
        """
        return {
            name: self._of_server(name, value, old, before, meaning)
            for name, value in fresh.items()
        }

    def _of_server(
        self, name: str, fresh: np.ndarray, olds: Values, before: "Sequence[str]", meaning: Meaning
    ) -> np.ndarray:
        old = olds.get(name)
        if old is None:
            # An average that the run did not keep beside what it trained, or the other way round.
            old = olds.get(name.replace(f"extra/{averaging.TRAINED}", "", 1))
        if old is None or name.split("/")[0] in _NOT_CARRIED:
            return fresh
        spec = self._variable(name)
        if spec is not None and old.ndim == len(spec.shape):
            return meaning.carried(spec, old, fresh)
        if spec is None and not fresh.ndim:
            return old
        # Of each client one; a newcomer's is the consensus.
        consensus = olds.get(f"consensus/{spec.name}") if spec else None
        found = []
        for scenario, own in zip(self._scenarios, fresh):
            value = old[before.index(scenario)] if scenario in before else consensus
            if value is None:
                found.append(own)
            else:
                found.append(value if spec is None else meaning.carried(spec, value, own))
        return np.stack(found)

    def client(self, old: Values, fresh: Values, meaning: Meaning) -> "dict[str, np.ndarray]":
        """A client's private state.

        Args:
          old: its state of the finished run.
          fresh: that of a client that has not begun.
          meaning: of its own schemas.
        """
        found = {}
        for name, value in fresh.items():
            spec, kept = self._variable(name), old.get(name)
            if kept is None and spec is not None:
                kept = old.get(spec.name)
            if kept is None or name == averaging.COUNT or name.startswith(_ANEW):
                found[name] = value
            else:
                found[name] = meaning.carried(spec, kept, value) if spec else kept
        for prefix, names in self._optimizers.items():
            found.update(self._slots(prefix, names, old, meaning))
        return found

    def newcomer(self, fresh: Values, server: Values) -> "dict[str, np.ndarray]":
        """The private state of a client that the finished run does not know: what it has of shared
        variables is what the others have in common.

        Args:
          fresh: that of a client that has not begun.
          server: the server's tensors, carried over.
        """
        return {name: self._in_common(name, value, server) for name, value in fresh.items()}

    def _in_common(self, name: str, fresh: np.ndarray, server: Values) -> np.ndarray:
        spec = self._variable(name)
        if spec is None or spec.join == variables.PRIVATE or fresh.shape != spec.shape:
            return fresh
        if name not in (spec.name, f"{averaging.TRAINED}{spec.name}"):
            return fresh  # as weights over a variable
        kind = "consensus" if spec.join == variables.PERSONAL else "common"
        return server[f"{kind}/{spec.name}"]

    def _slots(
        self, prefix: str, names: "Sequence[str]", old: Values, meaning: Meaning
    ) -> "dict[str, np.ndarray]":
        """The slots of an optimizer, of whose new rows the moments are zero."""
        specs = [self._specs[name] for name in names]
        shapes = collections.OrderedDict((spec.name, meaning.old_shape(spec)) for spec in specs)
        slots = [old[name] for name in sorted(old) if name.rpartition("/")[0] == prefix]
        before, steps = adam.moments_of(shapes, slots)
        moments = collections.OrderedDict()
        for spec in specs:
            none = np.zeros(spec.shape, np.float32)
            m, v = (meaning.carried(spec, moment, none) for moment in before[spec.name])
            moments[spec.name] = (m, v)
        found = adam.slots_of(moments, steps)
        return {f"{prefix}/{i:04d}": slot for i, slot in enumerate(found)}

    def _variable(self, name: str) -> "Optional[variables.VariableSpec]":
        """The variable that a saved tensor is a value of, or of whose shape it is."""
        parts = name.split("/")
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        return next((self._specs[end] for end in ends if end in self._specs), None)
