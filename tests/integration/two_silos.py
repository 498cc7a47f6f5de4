"""Two silos, of the scenarios es and nl, and what passes between the second and a driver."""

import contextlib
import pathlib
import socket
from collections.abc import Iterator
from typing import Optional

import numpy as np

from benchmarks import wire_capture
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import row_block, writer
from pfrec.models.config import ModelConfig
from tests.conftest import random_rows
from tests.integration import silo_machines
from tff_process.runtime import options

MODEL = ModelConfig(embedding_dim=3, numeric_dim=2, experts=2, expert_units=(4,), tower_units=(3,))


class StoppedError(Exception):
    """Ends the driver's work after a round."""


def stop(number: int, auc: float) -> None:
    """A training's progress that ends it after its first round."""
    raise StoppedError


def data(
    schema: schema_lib.Schema, path: pathlib.Path, planted: Optional[np.float32] = None
) -> dataset_lib.Dataset:
    """Two scenarios' rows; the numerical features of some are a planted number."""
    with writer.DatasetWriter(path, schema, source_format="test", split_seed=0) as target:
        for number, scenario in enumerate(("es", "nl")):
            for offset, split in enumerate(("train", "valid", "test")):
                rows = random_rows(schema, 200, 10 * number + offset)
                numerical = rows.numerical.copy()
                if planted is not None:
                    numerical[:8] = planted
                made = row_block.Rows(rows.categorical, numerical, rows.labels, rows.group)
                target.add(scenario, split, made)
    return dataset_lib.Dataset.open(path)


@contextlib.contextmanager
def recorded(
    running: "dict[str, silo_machines.Silo]",
) -> "Iterator[tuple[options.Options, wire_capture.Recorder]]":
    """Options of a driver that reaches nl's silo through a recorder, which stops at the end."""
    with socket.create_server(("127.0.0.1", 0)) as port:
        host, _, number = running["nl"].address.rpartition(":")
        recorder = wire_capture.Recorder(port, host, int(number))
        through = {"es": running["es"].address, "nl": "{}:{}".format(*port.getsockname())}
        yield options.Options(workers=through), recorder
        recorder.stop()
