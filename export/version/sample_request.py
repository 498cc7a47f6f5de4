"""A request that can be sent as it is, beside a version: the body of a REST call."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from pfrec import files

NAME = "sample_request.json"
FILE = f"assets.extra/{NAME}"


def write(directory: pathlib.Path, request: Mapping[str, np.ndarray]) -> None:
    """Writes a request into a version's directory, a row as an object, as JSON.

    Args:
      directory: of the version.
      request: see `export.graph.requests`; rows of nobody.

    Raises:
      PfrecError: where it cannot be written.
    """
    columns = {name: [_plain(value) for value in values] for name, values in request.items()}
    instances = [dict(zip(columns, row)) for row in zip(*columns.values())]
    # TensorFlow Serving takes rows of a model with a single input without its name.
    files.write_json(
        directory / FILE,
        {"instances": instances if len(columns) > 1 else next(iter(columns.values()))},
    )


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    # The shortest decimal that is the float32, not the double next to it.
    return float(str(value)) if isinstance(value, np.floating) else value.item()
