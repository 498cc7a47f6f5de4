"""The rows that have no scores, with their numbers, beside the file of scores: whoever joins that
to the input by order knows by them which rows to pass over.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import IO, Optional

from pfrec import errors, files
from pfrec.data.reading import bad_rows


def place(output: pathlib.Path) -> pathlib.Path:
    """Where the bad rows of the input of `output` are."""
    return output.with_name(f"{output.name}-{bad_rows.QUARANTINE_FILE}")


@contextlib.contextmanager
def writing(output: pathlib.Path, on_bad_row: str) -> "Iterator[Optional[IO[str]]]":
    """Yields what takes a line of JSON for each bad row, or None where they are not kept; the file,
    its owner's alone, takes the place of an earlier one where the body succeeds.

    Args:
      output: the file of scores, which this process alone writes.
      on_bad_row: `quarantine` to keep them.

    Raises:
      PfrecError: where it cannot be written, or is not to be and one is there, which would be taken
        for that of these scores.
    """
    path = place(output)
    if on_bad_row != "quarantine":
        if path.exists():
            raise errors.PfrecError(
                f"{path}: exists, of other scores; choose another --output or remove it"
            )
        yield None
        return
    temporary = path.with_name(f"{files.TEMPORARY_PREFIX}{path.name}")
    with files.readable_errors(path):
        temporary.unlink(missing_ok=True)  # what a killed process left
        try:
            with open(temporary, "x", encoding="utf-8", opener=files.owners_alone) as stream:
                yield stream
            files.sync(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
