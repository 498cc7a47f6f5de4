"""Versions of several models become visible at once, though each appears by a rename of its own.

While they are renamed into place, models.config names the versions that were served before; one
replacement of it shows all the new ones. What a kill interrupts is noted in a journal, and the next
command that writes the serving directory ends it where all versions are in place and undoes it
where one is missing: none of them was served yet.
"""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence

from export.publishing import models_config, publish
from pfrec import errors, files, json_fields

JOURNAL = ".publishing.json"
_REMEDY = "remove it, and versions of --version that other models lack"


def interrupted(serving: pathlib.Path) -> str:
    """What publication was interrupted, in words; empty for none."""
    if not (serving / JOURNAL).exists():
        return ""
    told = _read(serving)
    return (
        f"{serving}: the publication of version {told.integer('version', 1)} of "
        f"{', '.join(told.texts('models'))} was interrupted; export again, which ends or undoes it"
    )


def recover(serving: pathlib.Path) -> None:
    """Ends or undoes what was interrupted, and removes what was left half-built; for a process that
    holds the directory's lock.

    Raises:
      PfrecError: where the journal is damaged or a file cannot be written.
    """
    publish.remove_leftovers(serving)
    if not (serving / JOURNAL).exists():
        return
    told = _read(serving)
    version = str(told.integer("version", 1))
    targets = [serving / name / version for name in told.texts("models")]
    if not all(target.is_dir() for target in targets):
        for target in targets:
            publish.remove(target)
    config = serving / models_config.FILE
    # What a person wrote there since stays.
    if config.exists() and config.read_text(encoding="utf-8") == told.text("held"):
        files.write_bytes(config, told.text("config").encode(), public=True)
    _forget(serving)


@contextlib.contextmanager
def together(serving: pathlib.Path, names: Sequence[str], version: int) -> Iterator[None]:
    """Around the renames that publish a version of some models.

    Args:
      serving: the serving directory, whose lock the process holds.
      names: of the models.
      version: the number.

    Raises:
      PfrecError: where models.config cannot be written; nothing is published then.
    """
    config = serving / models_config.FILE
    before = config.read_text(encoding="utf-8") if config.exists() else ""
    held = models_config.holding(serving) if before else ""
    value = {"config": before, "held": held, "models": list(names), "version": version}
    files.write_json(serving / JOURNAL, {"format_version": 1, **value})
    try:
        if before:
            files.write_bytes(config, held.encode(), public=True)
        yield
    finally:
        recover(serving)


def _read(serving: pathlib.Path) -> json_fields.Fields:
    place = serving / JOURNAL
    told = json_fields.Fields(files.read_json(place, remedy=_REMEDY), str(place), _REMEDY)
    for name in told.texts("models"):
        if not publish.is_model_name(name):
            raise errors.PfrecError(f"{place}: {name!r} is no model's name; {_REMEDY}")
    return told


def _forget(serving: pathlib.Path) -> None:
    with files.readable_errors(serving / JOURNAL):
        (serving / JOURNAL).unlink(missing_ok=True)
        files.sync(serving)
