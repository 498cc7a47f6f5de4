"""What binds a run to its data: where they are, by what they are told, and what its models mean.

The next day's rows take the place of the last one's in the same directory, and private vocabularies
and statistics change with them. So a run carries each client's own schema in the client's
directory, and rows that it meets are compared with the digests of those that it was trained on.
"""

import hashlib
import hmac
import os
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

from pfrec import errors, files
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import writer

# In config.json: the path of the data, the same from the run's directory, and `Dataset.digests`.
PLACE, PLACE_FROM_RUN, DIGESTS = "data", "data_from_run", "data_digests"


def places(run_path: pathlib.Path, data_path: pathlib.Path) -> "dict[str, str]":
    """Where a run finds its data: one entry holds where the run is moved alone, the other where
    both are moved together.
    """
    found = data_path.resolve()
    return {PLACE: str(found), PLACE_FROM_RUN: os.path.relpath(found, run_path.resolve())}


def changed(config: Mapping[str, Any], dataset: dataset_lib.Dataset) -> "list[str]":
    """The scenarios of a run of which a dataset holds other rows than the run was trained on; none
    where the run is of a pfrec that did not note that.
    """
    known = config.get(DIGESTS, {})
    return [name for name in known if dataset.digests.get(name) != known[name]]


def learned(config: Mapping[str, Any], dataset: dataset_lib.Dataset) -> "list[str]":
    """The scenarios of which a dataset holds the very rows that a run was trained on, as far as it
    noted them.
    """
    known = config.get(DIGESTS, {})
    return [
        name
        for name in dataset.scenarios
        if known.get(name) is not None and dataset.digests.get(name) == known[name]
    ]


def open_own(run_path: pathlib.Path, config: Mapping[str, Any]) -> dataset_lib.Dataset:
    """The data that a run was trained on, wherever the run was moved, or both together.

    Raises:
      PfrecError: where they are gone, damaged, or other rows are in their place.
    """
    named = [
        config[PLACE],
        *([str(run_path / config[PLACE_FROM_RUN])] * (PLACE_FROM_RUN in config)),
    ]
    there = [place for place in named if (pathlib.Path(place) / writer.DATASET_FILE).exists()]
    if not there:
        raise errors.PfrecError(
            f"{run_path}: its data are no longer in {config[PLACE]}; name their place with --data"
        )
    opened = [dataset_lib.Dataset.open(place) for place in there]
    own = next((dataset for dataset in opened if not changed(config, dataset)), None)
    if own is None:
        raise errors.PfrecError(
            f"{opened[0].path}: holds other rows of {', '.join(changed(config, opened[0]))} than "
            f"{run_path} was trained on; name the place of its own with --data, or measure on "
            f"these with {shlex.quote(f'--data={opened[0].path}')}"
        )
    return own


def open_given(
    path: pathlib.Path,
    schema: schema_lib.Schema,
    clients: "Mapping[str, schema_lib.Schema]",
) -> dataset_lib.Dataset:
    """Data that a user names for a run's models, whose ids and numbers mean what the run's did.

    Args:
      path: of the dataset.
      schema: the run's.
      clients: by scenario of the run, its own client's schema.

    Raises:
      PfrecError: where the data know none of the scenarios, have other columns, or were encoded by
        other vocabularies or statistics.
    """
    dataset = dataset_lib.Dataset.open(path)
    known = [name for name in clients if name in dataset.scenarios]
    if not known:
        raise errors.PfrecError(f"{path}: knows none of the run's scenarios {', '.join(clients)}")
    difference = dataset_lib.first_difference(schema.to_json(), dataset.schema.to_json())
    if difference:
        raise errors.PfrecError(
            f"{path}: not encoded as the run's rows: {difference}; convert with the run's schema"
        )
    strange = [name for name in known if dataset.client_schema(name) != clients[name]]
    if strange:
        raise errors.PfrecError(
            f"{path}: not encoded as the run's rows: ids and numbers of {', '.join(strange)} mean "
            "something else, by other rows' vocabularies and statistics; pfrec-evaluate and "
            "pfrec-predict ask for the raw values of such rows"
        )
    return dataset


def keep_client_schema(directory: pathlib.Path, dataset: dataset_lib.Dataset, name: str) -> None:
    """Keeps in a client's own directory what its model means by ids and numbers, where that is the
    client's own and is not there yet.

    Raises:
      PfrecError: where it cannot be written.
    """
    path = directory / writer.CLIENT_SCHEMA_FILE
    if dataset.schema.local and not path.exists():
        files.write_json(path, dataset.client_schema(name).to_json())


def read_client_schema(directory: pathlib.Path, agreed: schema_lib.Schema) -> schema_lib.Schema:
    """The schema as a run's client knew it; the agreed one where nothing of it is local.

    Raises:
      PfrecError: where it is missing or damaged.
    """
    if not agreed.local:
        return agreed
    path = directory / writer.CLIENT_SCHEMA_FILE
    if not path.exists():
        raise errors.PfrecError(
            f"{path}: no such file, and without it nobody knows what the model means by its ids "
            "and numbers; train again"
        )
    return schema_lib.Schema.read(path)


def keyed(digest: str, secret: bytes) -> str:
    """A silo's digest of its rows as a driver is told it: it tells whether they are the same rows,
    and to nobody without the secret which they are.
    """
    return hmac.new(secret, digest.encode(), hashlib.sha256).hexdigest()
