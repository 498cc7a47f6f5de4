"""What leaves a client as small whole numbers: the change of each trained value, and what rounding
left out of it stays with the client and is added to its next change (error feedback).

Formula, for a client's values w after training from v, in each tensor by itself:

    d = w - v + r                       r: what was left out until now, 0 at first
    s = max |d| / (2^(bits - 1) - 1)
    q = round(d / s)                    whole numbers of `bits` bits, which leave with s
    r = d - s q                         at most s / 2 in each element

The server goes on with v + s q, which it can work out since v came from it. Whatever was sent in
all differs from the sum of all changes by the last r alone. Statistics that training does not
change by gradients leave as they are: a variance that was rounded may be negative.

Of a change that noise was added to (`privacy`) rounding reads nothing but what might have left
anyhow, and so is free of the budget.

References:
  Seide et al., "1-Bit Stochastic Gradient Descent and its Application to Data-Parallel Distributed
  Training of Speech DNNs", Interspeech 2014; Karimireddy et al., "Error Feedback Fixes SignSGD and
  other Gradient Compression Schemes", ICML 2019.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pfrec import lazy
from tff_process.client import strategy, variables

with lazy.imports():
    import tensorflow as tf

    from tff_process.client import work as work_lib

LEFT_OUT = "left_out/"
CODES, SCALE = "codes", "scale"
_KINDS: dict[int, Any] = {8: np.int8, 16: np.int16}


def kind(bits: int) -> Any:
    """The NumPy type of whole numbers of so many bits."""
    return _KINDS[bits]


class SmallUploads(strategy.Strategy):
    """Another strategy's client, whose uploads are small.

    Args:
      inner: what trains.
      bits: 8 or 16.
    """

    def __init__(self, inner: strategy.Strategy, bits: int) -> None:
        self._inner, self.upload_bits = inner, bits
        self.asked, self.reads_valid = inner.asked, inner.reads_valid

    def own_work(self, client_id: tf.Tensor, secret: tf.Tensor) -> work_lib.Values:
        return self._inner.own_work(client_id, secret)

    def optimizers(self, layout: variables.ModelVariables) -> Mapping[str, Sequence[str]]:
        return self._inner.optimizers(layout)

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        left = [
            strategy.Kept(_left_out(number), spec.shape)
            for number, spec in enumerate(rounded(layout, self.upload_bits))
        ]
        return [*self._inner.kept(layout), *left]

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        private = {
            name: value for name, value in inputs.private.items() if not name.startswith(LEFT_OUT)
        }
        done = strategy.trained(self._inner, model, dataclasses.replace(inputs, private=private))
        state, upload = dict(done.private), collections.OrderedDict(done.upload.items())
        for number, spec in enumerate(rounded(inputs.layout, self.upload_bits)):
            change = upload[spec.name] - inputs.incoming[spec.name]
            codes, scale, left = encoded(
                change + inputs.private[_left_out(number)], self.upload_bits
            )
            upload[spec.name] = collections.OrderedDict([(CODES, codes), (SCALE, scale)])
            state[_left_out(number)] = left
        return dataclasses.replace(done, private=state, upload=upload)

    def train_at_home(
        self,
        model: work_lib.ClientModel,
        settings: work_lib.TrainingSettings,
        private: work_lib.Values,
        work: work_lib.Values,
    ) -> work_lib.Values:
        return self._inner.train_at_home(model, settings, private, work)


def rounded(layout: variables.ModelVariables, bits: int) -> list[variables.VariableSpec]:
    """What leaves as whole numbers, of what leaves; nothing where numbers leave as they are."""
    if bits == strategy.FULL_BITS:
        return []
    return [spec for spec in layout.uploaded if spec.trainable]


def encoded(change: tf.Tensor, bits: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """q, s and the next r of a tensor's d.

    A change that is not finite has a scale that is none either, and is refused for that.
    """
    most = float(2 ** (bits - 1) - 1)
    scale = tf.reduce_max(tf.abs(change)) / most
    whole = tf.clip_by_value(tf.round(tf.math.divide_no_nan(change, scale)), -most, most)
    return tf.cast(whole, kind(bits)), scale, change - scale * whole


def decoded(values: Mapping[str, Any], before: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The values that a report stands for, by name.

    Args:
      values: of a report; what left as it is, stays so. Whole numbers of another shape or type than
        agreed stay as they are, for whoever checks a report to refuse.
      before: what the client started from, by name.
    """

    def one(name: str, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        codes, scale, start = np.asarray(value[CODES]), np.asarray(value[SCALE]), before[name]
        if codes.shape != start.shape or codes.dtype not in _KINDS.values() or scale.shape:
            return codes
        with np.errstate(invalid="ignore"):
            return start + codes.astype(start.dtype) * scale

    return {name: one(name, value) for name, value in values.items()}


def _left_out(number: int) -> str:
    """The name of a tensor's r: by its number, since a name that ends with a variable's is taken
    for a value of it.
    """
    return f"{LEFT_OUT}{number:04d}"
