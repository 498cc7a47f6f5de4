"""Asks a silo for its facts: all that it tells a driver of itself."""

import functools

import numpy as np
import tensorflow_federated as tff

from pfrec import errors, files
from tff_process.runtime import remote as remote_lib
from tff_process.runtime import state_files
from tff_process.silos import directory


def read(remote: remote_lib.Remote, name: str) -> directory.Facts:
    """Reads a silo's facts.

    Args:
      remote: a connection to it.
      name: of the silo, for messages.

    Raises:
      PfrecError: where it does not tell them.
    """
    try:
        path = remote.send(directory.FACTS, tff.TensorType(np.str_))
        text = np.asarray(remote.fetch(remote.call(_reader(), path))).item()
        return directory.Facts.from_json(files.parse_json(text), place=name)
    except (ValueError, remote_lib.WorkError) as error:
        raise errors.PfrecError(
            f"{name} does not say what it serves ({error}); start pfrec-worker there anew"
        ) from error


@functools.cache
def _reader() -> remote_lib.Function:
    return remote_lib.Function.of("facts", state_files.text_reader())
