"""What a silo takes from a driver: every value is of a kind that the agreement knows, whole, finite
and of its size, and names nothing else.

A driver names what is in the silo's directory, and never a path: names are read whole, and the
worker gets a path that is made here.
"""

import dataclasses
import functools
import re
from collections.abc import Collection, Mapping
from typing import Any, Optional

import numpy as np
from tensorflow_federated.proto.v0 import executor_pb2

from pfrec import cells, client_directory, files, metrics
from tff_process.client import summed_uploads
from tff_process.silos import directory, labels, values
from tff_process.silos.values import (
    FLOAT,
    INT32,
    INT64,
    STRING,
    Spec,
    Tensor,
    check,
    integer,
    numbers,
    string,
    strings,
)
from tff_process.silos.work_rules import WorkRules

_MOST_CLIENTS = 1_000_000
_TRAINING, _NUMBER = r"[0-9a-f]{16}", r"[0-9]{5,9}"
_VERSION = re.compile(rf"{directory.RUNS}/({_TRAINING})/version_({_NUMBER})")
_SHARED = re.compile(rf"{directory.RUNS}/({_TRAINING})/shared/round_({_NUMBER})")
_KEEP = re.compile(rf"{directory.RUNS}/({_TRAINING})/{re.escape(directory.KEEP)}")
_CONTINUE = re.compile(rf"{directory.RUNS}/({_TRAINING})/{re.escape(directory.CONTINUE)}")
_REFUSAL = re.compile(rf"{directory.RUNS}/({_TRAINING})/refused/round_({_NUMBER})\.json")


@dataclasses.dataclass(frozen=True)
class Received:
    """A value that was taken.

    Attributes:
      label: what it is for.
      value: what goes to the worker: made here wherever it names something in the silo.
      bytes: of its numbers and texts.
      training: the training that it names; empty for none.
      state: the private state that it names; empty for none.
      work: the first step and the number of steps that it asks for; empty for none.
      number: of the sum that the work is for; -1 for none.
    """

    label: str
    value: executor_pb2.Value
    bytes: int
    training: str = ""
    work: "tuple[int, ...]" = ()
    state: str = ""
    number: int = -1


@dataclasses.dataclass(frozen=True)
class Receivable:
    """What a silo takes from a driver.

    Attributes:
      shared, personal, first_values: the types of what the server has for it.
      serves: the tasks that it has, 1 or 0 each.
      shards: by split, the paths of its shards as its worker names them.
      work: how much a driver may ask for.
      client: what client.json must say, but for its rounds and metrics.
      continued: the plan of a training that goes on from a finished one; None where none may.
      summed: whether work says which sum it is for.
      spreads: the type of what it evaluates at several spreads with; None where it does not.
      tried: the spreads that it evaluates in one answer, where it is not 1 alone.
      begins: of the first values those that are the plan's own, by name: a driver that chose where
        a private table begins could single out an id of it in what leaves.
    """

    shared: Spec
    personal: Spec
    first_values: Spec
    serves: "tuple[float, ...]"
    shards: "Mapping[str, tuple[str, ...]]"
    work: WorkRules
    client: "Mapping[str, Any]"
    continued: "Optional[Mapping[str, Any]]" = None
    summed: bool = False
    spreads: Optional[Spec] = None
    tried: "tuple[float, ...]" = ()
    begins: "Mapping[str, np.ndarray]" = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def most_bytes(self) -> int:
        """Of a message that can be a value of these."""
        specs = (self.shared, self.personal, self.first_values, self.spreads or {})
        largest = max(sum(8 * 64 + of.bytes for _, of in values.tensors(spec)) for spec in specs)
        names = max(sum(2 * len(name) for name, _ in values.tensors(spec)) for spec in specs)
        return largest + names + values.MOST_TEXT + 4_096

    def receive(self, value: executor_pb2.Value) -> Received:
        """Takes a value.

        Raises:
          RefusedError: where it is none that the agreement knows.
        """
        if not values.known(value):
            raise labels.RefusedError("a message with fields that the protocol does not know")
        size = values.size(value)
        kind = value.WhichOneof("value")
        if kind == "array":
            return self._array(value, size)
        if kind != "struct":
            raise labels.RefusedError(
                f"a value that is {'nothing' if kind is None else f'a {kind}'}: only the silo's "
                "own computations run here"
            )
        names = [element.name for element in value.struct.element]
        if names == ["common", "consensus"]:
            return self._of(labels.SHARED, value, self.shared, size)
        if names == ["client_id", "values"]:
            taken = self._of(labels.PERSONAL, value, self.personal, size)
            _client_number(integer(value.struct.element[0].value))
            return taken
        if names == ["factors", "consensus"]:
            return self._spreads(value, size)
        if "first_step" in names:
            return self._work(value, size)
        taken = self._of(labels.FIRST_VALUES, value, self.first_values, size)
        for element in value.struct.element if self.begins else ():
            own = self.begins.get(element.name)
            if own is None:
                continue
            sent = numbers(element.value.array)
            # Another machine's arithmetic may differ in last bits.
            if not np.array_equal(sent, own.ravel()) and not np.allclose(
                sent, own.ravel(), rtol=1e-4, atol=1e-6
            ):
                raise labels.RefusedError(f"first values of {element.name} that are not the plan's")
        return taken

    def _of(self, label: str, value: executor_pb2.Value, spec: Spec, size: int) -> Received:
        check(value, spec, label)
        return Received(label, value, size)

    def _spreads(self, value: executor_pb2.Value, size: int) -> Received:
        if self.spreads is None:
            raise labels.RefusedError("spreads, which the agreed plan does not find")
        taken = self._of(labels.SPREADS, value, self.spreads, size)
        factors = numbers(value.struct.element[0].value.array).tolist()
        if factors == [1.0]:
            return dataclasses.replace(taken, label=labels.ONE_SPREAD)
        if factors != np.array(self.tried, np.float32).tolist():
            agreed = ", ".join(f"{factor:g}" for factor in self.tried)
            raise labels.RefusedError(f"other spreads in one answer than 1 alone or {agreed}")
        return taken

    def _array(self, value: executor_pb2.Value, size: int) -> Received:
        array = value.array
        rank = len(array.shape.dim)
        if array.dtype == INT32:
            check(value, Tensor(INT32, ()), labels.CLIENT_ID)
            _client_number(integer(value))
            return Received(labels.CLIENT_ID, value, size)
        if array.dtype == FLOAT:
            check(value, Tensor(FLOAT, (len(self.serves),)), labels.SERVES)
            if tuple(numbers(array)) != self.serves:
                raise labels.RefusedError("another set of tasks than this silo has labels of")
            return Received(labels.SERVES, value, size)
        if array.dtype == STRING and rank == 1:
            return self._shards(value, size)
        if array.dtype == STRING and rank == 0:
            check(value, Tensor(STRING, ()), "a text")
            return self._text(values.text_of(value), size)
        raise labels.RefusedError(
            f"a tensor of type {values.NAMES.get(array.dtype, array.dtype)} and rank {rank}, which "
            "nothing here takes"
        )

    def _shards(self, value: executor_pb2.Value, size: int) -> Received:
        check(value, Tensor(STRING, (None,)), "shards")
        named = tuple(text.decode(errors="replace") for text in value.array.string_list.value)
        for split, own in self.shards.items():
            if named == own:
                label = labels.TRAINING_SHARDS if split == "train" else labels.EVALUATION_SHARDS
                return Received(label, strings(own), size)
        raise labels.RefusedError("shards that are not all of one split of this silo")

    def _work(self, value: executor_pb2.Value, size: int) -> Received:
        whole = {
            "seed": Tensor(INT64, ()),
            "first_step": Tensor(INT64, ()),
            "steps": Tensor(INT64, ()),
            "epoch_steps": Tensor(INT64, ()),
        }
        valid: dict[str, Spec] = {}
        if self.work.home_steps is not None:
            whole["home_steps"] = Tensor(INT64, ())
            valid["valid_shards"] = Tensor(STRING, (None,))
        if self.summed:
            whole.update(dict.fromkeys(summed_uploads.ASKED, Tensor(INT64, ())))
        check(
            value,
            {
                "shards": Tensor(STRING, (None,)),
                **whole,
                **valid,
                "learning_rate": Tensor(FLOAT, ()),
                "task_weights": Tensor(FLOAT, (len(self.serves),)),
                "positive_weights": Tensor(FLOAT, (len(self.serves),)),
            },
            labels.WORK,
        )
        parts = {element.name: element.value for element in value.struct.element}
        if self._shards(parts["shards"], size).label != labels.TRAINING_SHARDS:
            raise labels.RefusedError("work on other rows than those of training")
        own_shards = {"shards": strings(self.shards["train"])}
        if valid:
            own_shards["valid_shards"] = strings(self.shards["valid"])
            if self._shards(parts["valid_shards"], size).value != own_shards["valid_shards"]:
                raise labels.RefusedError("a home model chosen on other rows than those of valid")
        number = {name: integer(parts[name]) for name in whole}
        if not 0 <= number.get("home_steps", 0) <= (self.work.home_steps or 0):
            raise labels.RefusedError(
                f"a home model of {number['home_steps']} steps; the plan has {self.work.home_steps}"
            )
        if self.summed:
            self.work.check_part(
                number["first_step"],
                number["steps"],
                number[summed_uploads.NUMBER],
                number[summed_uploads.PARTS],
            )
        (rate,) = numbers(parts["learning_rate"].array)
        self.work.check(
            number["first_step"],
            number["steps"],
            number["epoch_steps"],
            float(rate),
            number["seed"],
        )
        self.work.check_weights(
            numbers(parts["task_weights"].array).tolist(),
            numbers(parts["positive_weights"].array).tolist(),
        )
        made = executor_pb2.Value()
        for element in value.struct.element:
            own = own_shards.get(element.name, element.value)
            made.struct.element.add(name=element.name, value=own)
        return Received(
            labels.WORK,
            made,
            size,
            work=(number["first_step"], number["steps"]),
            number=number.get(summed_uploads.NUMBER, -1),
        )

    def _text(self, text: str, size: int) -> Received:
        """A name of something in the silo's directory, of which the path is made here,
        or a note.
        """
        names = {
            directory.FACTS: labels.FACTS_NAME,
            directory.ROWS_SECRET: labels.SECRET_NAME,
            directory.FINISHED: labels.CLIENT_NAME,
        }
        if text in names:
            return Received(names[text], string(text), size)
        runs = directory.RUNS
        if match := _VERSION.fullmatch(text):
            training, number = match.groups()
            state = f"{training}/{client_directory.version_name(int(number))}"
            path = string(f"{runs}/{state}")
            return Received(labels.VERSION, path, size, training, state=state)
        if match := _SHARED.fullmatch(text):
            training, number = match.groups()
            return Received(
                labels.SHARED_VERSION,
                string(f"{runs}/{training}/{client_directory.shared_name(int(number))}"),
                size,
                training,
            )
        if match := _KEEP.fullmatch(text):
            return Received(
                labels.KEEP_NAME,
                string(f"{runs}/{match.group(1)}/{directory.KEEP}"),
                size,
                match.group(1),
            )
        if match := _CONTINUE.fullmatch(text):
            return Received(
                labels.CONTINUE_NAME,
                string(f"{runs}/{match.group(1)}/{directory.CONTINUE}"),
                size,
                match.group(1),
            )
        if match := _REFUSAL.fullmatch(text):
            training, number = match.groups()
            return Received(
                labels.REFUSAL_NAME,
                string(f"{runs}/{training}/refused/round_{int(number):05d}.json"),
                size,
                training,
            )
        try:
            label, note = self._note(files.parse_json(text))
            # Half a surrogate pair stands in JSON and in no text.
            written = string(files.json_text(note))
        except (ValueError, TypeError):
            raise labels.RefusedError(
                "a text that is neither a name in this silo's directory nor a note that it takes"
            ) from None
        return Received(label, written, size, note.get("run", ""))

    def _note(self, note: Any) -> "tuple[str, dict[str, Any]]":
        """What a note is, and its content written anew.

        Raises:
          ValueError, TypeError: where it is none.
          RefusedError: where it says something else of the model than was agreed.
        """
        if set(note) == {"keep"}:
            return labels.KEEP, {"keep": [_round(number) for number in _list(note["keep"])]}
        if set(note) == {"round", "reason"}:
            return labels.REFUSAL, {
                "round": _round(note["round"]),
                "reason": str(note["reason"])[:1_000],
            }
        if set(note) == {"from", "plan"} and re.fullmatch(_TRAINING, note["from"]):
            if self.continued is None or files.json_text(note["plan"]) != files.json_text(
                self.continued
            ):
                raise labels.RefusedError(
                    "to go on from a finished training by another plan than the one agreed "
                    "(see --continues of pfrec-agreement)"
                )
            return labels.CONTINUE, {"from": note["from"], "plan": self.continued}
        if set(note) != {
            *self.client,
            "private_version",
            "round",
            "run",
            "test",
        } or not re.fullmatch(_TRAINING, note["run"]):
            raise ValueError("not a note")
        for name, own in self.client.items():
            if files.json_text(note[name]) != files.json_text(own):
                raise labels.RefusedError(
                    f"a {directory.CLIENT} whose {name} is not the one agreed"
                )
        told = {name: _round(note[name]) for name in ("private_version", "round")}
        return labels.CLIENT, {
            **self.client,
            **told,
            "run": note["run"],
            "test": _metrics(note["test"], {of["name"] for of in self.client["schema"]["tasks"]}),
        }


def _client_number(number: int) -> None:
    if not 0 <= number < _MOST_CLIENTS:
        raise labels.RefusedError(f"client {number}: there is none of this number")


def _list(value: Any) -> "list[Any]":
    if not isinstance(value, list):
        raise ValueError("not a list")
    return value


def _round(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 10**9:
        raise ValueError("not a round")
    return value


def _metrics(value: Any, tasks: "Collection[str]") -> "dict[str, dict[str, Any]]":
    """Metrics by task: numbers or nothing, under names that the silo knows, as they stand on the
    card of what it publishes.
    """
    if not isinstance(value, dict) or not set(value) <= set(tasks):
        raise ValueError("not metrics of its tasks")
    for task in value.values():
        if (
            not isinstance(task, dict)
            or not set(task) <= {*metrics.METRICS, cells.SERVED}
            or any(not isinstance(x, (int, float, type(None))) for x in task.values())
        ):
            raise ValueError("not metrics")
    return value
