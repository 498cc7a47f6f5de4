"""What an exported model takes and gives: its signatures, as they follow from the schema."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Optional

from pfrec import errors
from pfrec.data import schema as schema_lib

SERVE = "serving_default"
CLASSIFY = "classify"
REGRESS = "regress"
EXAMPLES = "inputs"  # of classify and regress; the name is the protocol's, as are the next three
CLASSES, SCORES, REGRESSED = "classes", "scores", "outputs"
SCENARIO = "scenario"  # of a router

_METHOD = "tensorflow/serving/"
# What a SavedModel can call an input; TensorFlow cannot save a signature with another name.
_INPUT_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


@dataclasses.dataclass(frozen=True)
class Signature:
    """A signature.

    Attributes:
      method: `tensorflow/serving/predict`, `.../classify` or `.../regress`: a server answers a
        classification request from a signature of that method alone.
      inputs, outputs: per name, dtype and shape as text, such as `int64 [None]`.
    """

    method: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Interface:
    """The features and tasks of a served model.

    Attributes:
      schema: of the features and tasks.
      scenarios: of a router, which takes the scenario of each row as one more input; empty for the
        model of one scenario.

    Raises:
      PfrecError: where a feature's name cannot be the name of a served input.
    """

    schema: schema_lib.Schema
    scenarios: "tuple[str, ...]" = ()

    def __post_init__(self) -> None:
        for name in self.inputs():
            if not _INPUT_NAME.fullmatch(name):
                raise errors.PfrecError(
                    f"schema: the feature name {name!r} cannot be the name of a served input; use "
                    "letters, digits, and _ . - / "
                    "with a letter or digit first, rename the column and convert again"
                )
        if self.scenarios and SCENARIO in [
            *(f.name for f in self.schema.categorical),
            *(c.name for c in self.schema.numerical),
        ]:
            raise errors.PfrecError(
                f"schema: a router's input {SCENARIO!r} and a feature share the name; rename "
                "the column"
            )

    @property
    def listed(self) -> "frozenset[str]":
        """The inputs of shape [rows, values], of any width: features whose rows hold lists. -1, or
        empty text, stands for no value.
        """
        return frozenset(feature.name for feature in self.schema.categorical if feature.values > 1)

    @property
    def vectors(self) -> "dict[str, int]":
        """The inputs of shape [rows, numbers], by name how many numbers each row has."""
        return {c.name: c.values for c in self.schema.numerical if c.values > 1}

    def shape(self, name: str) -> "list[Optional[int]]":
        """The shape of an input: [rows], of a list [rows, values], of a vector [rows, numbers]."""
        if name in self.vectors:
            return [None, self.vectors[name]]
        return [None, None] if name in self.listed else [None]

    def inputs(self) -> "dict[str, str]":
        """TensorFlow's dtype name per named input; `shape` says which shape it has."""
        dtypes = {
            f.name: "int64" if f.encoding == "identity" else "string"
            for f in self.schema.categorical
        }
        dtypes.update({column.name: "float32" for column in self.schema.numerical})
        return {**({SCENARIO: "string"} if self.scenarios else {}), **dtypes}

    def tasks(self) -> "list[str]":
        """Names of the tasks, which are those of the probabilities."""
        return [task.name for task in self.schema.tasks]

    def regressions(self) -> "dict[str, str]":
        """The task of each regression signature: `regress` gives the first task,
        `regress_TASK` each further one.
        """
        return {
            REGRESS if not number else f"{REGRESS}_{task}": task
            for number, task in enumerate(self.tasks())
        }

    def signatures(self) -> "dict[str, Signature]":
        """Every signature by name.

        `serving_default` takes named tensors and gives named probabilities. `classify` takes
        serialized tf.Example and gives for each row the tasks as classes with their probabilities
        as scores; `regress` gives one task's probability.
        """
        examples = {EXAMPLES: "string [None]"}
        scores = {
            CLASSES: f"string [None, {len(self.tasks())}]",
            SCORES: f"float32 [None, {len(self.tasks())}]",
        }
        found = {
            SERVE: Signature(
                f"{_METHOD}predict",
                {name: f"{dtype} {self.shape(name)}" for name, dtype in self.inputs().items()},
                dict.fromkeys(self.tasks(), "float32 [None]"),
            ),
            CLASSIFY: Signature(f"{_METHOD}classify", examples, scores),
        }
        for name in self.regressions():
            found[name] = Signature(f"{_METHOD}regress", examples, {REGRESSED: "float32 [None]"})
        return found
