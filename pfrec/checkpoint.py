"""A directory of named tensors that appears whole or not at all, in TensorFlow's checkpoint format.

TensorFlow's format is written by one graph operation, so a client's own computation can write it
too, and it carries a checksum of every tensor.
"""

import pathlib
import shutil
from collections.abc import Iterable, Mapping
from typing import Any, Optional

import numpy as np

from pfrec import errors, files, json_fields, lazy

with lazy.imports():  # who reads a run's records needs no tensors
    import tensorflow as tf

PREFIX = "state"
META = "meta.json"
# Beside checkpoints that come and go: the tensors of one that was removed, see `remove`.
SPARE = f"{files.TEMPORARY_PREFIX}spare"
_TENSORS = f"{PREFIX}.data-00000-of-00001"


def description(names: Iterable[str], meta: Any) -> str:
    """The content of the file that makes a checkpoint whole: what tensors it has, and `meta`."""
    return files.json_text({"names": sorted(names), "meta": meta})


def owner(client: str, version: str) -> "dict[str, str]":
    """The meta of a client's private state: the last two parts of the path of its directory, so
    that no other one is taken for it, and the whole may be moved.
    """
    return {"of": f"{client}/{version}"}


def save(
    directory: pathlib.Path, values: Mapping[str, Any], meta: Optional[Mapping[str, Any]] = None
) -> None:
    """Writes `values` and `meta` to `directory`, replacing one that is there, in the memory of a
    spare beside it.

    Raises:
      PfrecError: where there is no space or no permission; what was there before is kept.
    """
    try:
        with files.readable_errors(directory.parent):
            files.make_directory(directory.parent)
        with files.whole_directory(directory, replace=True) as temporary:
            names = sorted(values)
            (directory.parent / SPARE).unlink(missing_ok=True)
            tf.raw_ops.SaveV2(
                prefix=str(temporary / PREFIX),
                tensor_names=names or ["empty"],
                shape_and_slices=[""] * max(1, len(names)),
                tensors=[tf.convert_to_tensor(values[name]) for name in names] or [tf.constant(0)],
            )
            files.write_bytes(temporary / META, description(names, meta).encode())
    except tf.errors.OpError as error:
        raise errors.PfrecError(
            f"{directory}: {errors.readable(error.message)}; free space or choose another path"
        ) from error


def load(directory: pathlib.Path) -> "tuple[dict[str, np.ndarray], Any]":
    """The values and meta of a directory that `save` wrote.

    Raises:
      PfrecError: where a file is missing or damaged; the message names the directory.
    """
    meta = _described(directory)
    try:
        reader = tf.train.load_checkpoint(str(directory / PREFIX))
        return {name: reader.get_tensor(name) for name in meta["names"]}, meta["meta"]
    except (tf.errors.OpError, ValueError, RuntimeError, KeyError) as error:
        reason = errors.readable(getattr(error, "message", None) or str(error))
        raise errors.PfrecError(
            f"{directory}: damaged checkpoint ({reason}); remove it to use the one before"
        ) from error


def remove(directory: pathlib.Path) -> None:
    """Removes a checkpoint that another one is to follow in the same place. Its tensors stay as
    `SPARE`, which whoever writes the other removes or empties right before that: it then gets their
    pages of memory. A virtual machine's kernel takes longer for pages that were free for some
    seconds, and are fresh ones then, than for the writing.
    """
    tensors, spare = directory / _TENSORS, directory.with_name(SPARE)
    if tensors.is_file() and not tensors.is_symlink():
        tensors.replace(spare)
        # What a hard link shares, as in a user's copy of a run, is not to be emptied. Only now, as
        # none comes to a name that nobody knows.
        if spare.stat().st_nlink != 1:
            spare.unlink()
    shutil.rmtree(directory)


def fingerprint(directory: pathlib.Path) -> str:
    """A digest of a checkpoint by its index, which holds a checksum of every tensor.

    Raises:
      PfrecError: where there is none.
    """
    path = directory / f"{PREFIX}.index"
    if not path.is_file():
        raise errors.PfrecError(
            f"{directory}: holds no whole checkpoint; remove it to use the one before"
        )
    with files.readable_errors(path):
        return files.sha256(path)


def load_meta(directory: pathlib.Path) -> Any:
    """The meta of a directory that `save` wrote.

    Raises:
      PfrecError: where it is missing or damaged.
    """
    return _described(directory)["meta"]


def _described(directory: pathlib.Path) -> Any:
    value = files.read_json(
        directory / META, remedy="the checkpoint is not whole, remove it to use the one before"
    )
    told = json_fields.Fields(
        value, str(directory / META), f"remove {directory} to use the one before"
    )
    told.texts("names")
    if "meta" not in told:
        raise errors.PfrecError(
            f"{directory / META}: not the description of a checkpoint; remove {directory} to use "
            "the one before"
        )
    return value
