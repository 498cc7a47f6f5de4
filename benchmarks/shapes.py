"""The shapes of models that benchmarks of training steps measure, and random rows for them."""

import dataclasses
import sys

import numpy as np

from pfrec.data import schema as schema_lib
from pfrec.data import synthetic
from pfrec.data.dataset import row_block
from pfrec.models.config import ModelConfig

PAPER = ModelConfig(
    embedding_dim=128,
    numeric_dim=128,
    experts=8,
    expert_units=(512, 256),
    tower_units=(128, 64),
    dropout=0.2,
)


@dataclasses.dataclass(frozen=True)
class Shape:
    """A model and its batch; `lists` are features with lists: cardinality,
    and how many values a row has at most.
    """

    config: ModelConfig
    batch: int
    tasks: int = 2
    cardinalities: "tuple[int, ...]" = synthetic.CARDINALITIES
    numbers: int = 63
    lists: "tuple[tuple[int, int], ...]" = ()

    def schema(self) -> schema_lib.Schema:
        return schema_lib.Schema(
            (
                *(schema_lib.Categorical(f"c{i}", c) for i, c in enumerate(self.cardinalities)),
                *(
                    schema_lib.Categorical(f"l{i}", c, values=v, separator="|")
                    for i, (c, v) in enumerate(self.lists)
                ),
            ),
            tuple(schema_lib.Numerical(f"n{i}") for i in range(self.numbers)),
            tuple(schema_lib.Task(f"t{i}", f"label{i}") for i in range(self.tasks)),
        )

    def rows(self, count: int, seed: int = 0) -> row_block.Rows:
        rng = np.random.default_rng(seed)
        ids = [rng.integers(0, c, (count, 1)) for c in self.cardinalities]
        for cardinality, values in self.lists:
            own = rng.integers(0, cardinality, (count, values))
            own[np.arange(values) >= rng.integers(0, values + 1, (count, 1))] = schema_lib.NO_VALUE
            ids.append(own)
        return row_block.Rows(
            np.concatenate(ids, axis=1).astype(np.int32),
            rng.normal(size=(count, self.numbers)).astype(np.float32),
            (rng.random((count, self.tasks)) < 0.2).astype(np.uint8),
        )


SHAPES = {
    "paper": Shape(PAPER, 2048),
    "small": Shape(ModelConfig(), 256),
    "medium": Shape(ModelConfig(embedding_dim=32, expert_units=(128, 64)), 256),
    "large": Shape(ModelConfig(embedding_dim=64, expert_units=(256, 128)), 1024),
    "wide": Shape(
        ModelConfig(embedding_dim=16),
        2048,
        cardinalities=(1_000_000, 100_000, *synthetic.CARDINALITIES[2:]),
    ),
    "8 tasks": Shape(ModelConfig(), 256, tasks=8),
    "additive": Shape(ModelConfig(template="additive"), 256),
    "paper, 4 tasks": Shape(PAPER, 2048, tasks=4),
    "lists": Shape(PAPER, 2048, lists=((20, 5), (100_000, 20))),
}


if __name__ == "__main__":
    sys.exit("a part of local_training.py")
