"""What one silo holds of its own model and its own rows; nothing of another silo, and nothing of
the server, is read. The format is that of `client_directory`.
"""

import pathlib
from typing import Optional

import tensorflow as tf

from pfrec import checkpoint, client_directory, errors, groups, run_data
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.models.mmoe import mmoe


class ClientModel:
    """A silo's directory after a training.

    Args:
      path: of the client directory.

    Attributes:
      record: the content of client.json.
      schema: as the silo's own client knows it: what it knows of its own columns the server never
        saw, so client.json does not hold it.

    Raises:
      PfrecError: where client.json is missing, damaged or of another version.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path, self.record = path, client_directory.ClientRecord.read(path)
        own = path / client_directory.RUNS / self.record.run
        self.schema: schema_lib.Schema = run_data.read_client_schema(own, self.record.schema)

    def load(self, received: bool = False) -> tf.keras.Model:
        """The trained network.

        Args:
          received: see `run_model.load`.

        Raises:
          PfrecError: where a part is missing or damaged.
        """
        record = self.record
        places = record.private_path(self.path), record.shared_path(self.path)
        (private, owner), (shared, _) = map(checkpoint.load, places)
        # None: of a pfrec that did not say whose it is.
        if owner not in (None, checkpoint.owner(record.run, places[0].name)):
            raise errors.PfrecError(
                f"{places[0]}: is the state of another client, version or training ({owner}); "
                "train again"
            )
        if received:
            private = client_directory.as_received(private, shared)
        network = mmoe.build(self.schema, record.model, record.seed)
        for item in groups.tag(network):
            values = private if item.name in private else shared
            if item.name not in values:
                raise errors.PfrecError(
                    f"{self.path}: {item.name} is in neither {places[0].name} nor "
                    f"shared/{places[1].name}; train again"
                )
            groups.assign(item, values[item.name], place=str(self.path))
        return network

    def own_data(self) -> Optional[dataset_lib.Dataset]:
        """Its dataset; None where `data/` no longer holds what it was trained on."""
        try:
            data = dataset_lib.Dataset.open(self.path / client_directory.DATA)
            secret = (self.path / "secret").read_bytes()
        except (errors.PfrecError, OSError):
            return None
        digest = data.digests.get(self.record.scenario, "")
        return data if self.record.data == run_data.keyed(digest, secret) else None
