"""Raw formats.

Each is one module with an `open_source` that reads the schema and returns a `Source`.

To add a format, write such a module and name it in `FORMATS`.
"""

import pathlib

from pfrec import errors
from pfrec.data.converters import (
    ali_ccp,
    aliexpress,
    aliexpress_raw,
    csv,
    kuairand,
    movielens,
    parquet,
    tenrec,
)
from pfrec.data.reading import source

FORMATS = {
    "ali_ccp": ali_ccp.open_source,
    "aliexpress": aliexpress.open_source,
    "aliexpress_raw": aliexpress_raw.open_source,
    "csv": csv.open_source,
    "kuairand": kuairand.open_source,
    "movielens": movielens.open_source,
    "parquet": parquet.open_source,
    "tenrec": tenrec.open_source,
}
# Those that a user's schema describes.
OWN = ("csv", "parquet")


def open_source(
    name: str, path: pathlib.Path, settings: source.Settings = source.Settings()
) -> source.Source:
    """Opens raw data of the format `name`.

    Args:
      name: a key of `FORMATS`.
      path: the input file or folder.
      settings: what the user said about reading it.

    Raises:
      PfrecError: where the format is unknown, or the input or schema does not fit it.
    """
    if name not in FORMATS:
        raise errors.PfrecError(
            f"--format={name}: unknown format; known formats are {', '.join(sorted(FORMATS))}"
        )
    if settings.before is not None and name not in OWN:
        raise errors.PfrecError(
            f"--append: is for a user's own files ({', '.join(OWN)}); the vocabularies of {name} "
            "are made of all its files, so convert them anew"
        )
    return FORMATS[name](path, settings)
