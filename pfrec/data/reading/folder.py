"""The files of an input: every file of a folder and of the folders in it is read, or named as not.

Folders called `key=value` are partitions, as Hive and Spark write them: their keys are columns.
"""

import dataclasses
import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Optional

from pfrec import errors
from pfrec.data.reading import raw_file, source

CSV_ENDINGS = (".csv", ".tsv")
PARQUET_ENDINGS = (".parquet", ".pq")
_SHOWN = 8
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclasses.dataclass(frozen=True)
class Input:
    """A file to read.

    Attributes:
      file: the file.
      keys: the partition keys of the folders that it lies in, with their values (None: no value).
      parts: the folders between the input and the file, then the file's stem.
    """

    file: raw_file.RawFile
    keys: Mapping[str, Optional[str]]
    parts: tuple[str, ...]


def find(path: pathlib.Path, endings: Sequence[str], what: str) -> "tuple[list[Input], list[str]]":
    """The input file, or the files below the input folder, in order of name.

    Args:
      path: the file or folder. A file is read whatever its name.
      endings: those of files to read, in any case and also with those of compressed files.
      what: the format, as messages name it.

    Returns:
      The files, and a note for each kind of file that is not read.

    Raises:
      PfrecError: where there is none, or an archive cannot be read.
    """
    kinds = " or ".join(f"*{ending}" for ending in endings)
    remedy = f"--input is a {what} file or a folder of {kinds} files"
    if path.is_file():
        found = _members(raw_file.RawFile(path), endings)
        if not found:
            raise errors.PfrecError(f"{path}: holds no {' or '.join(endings)} file; {remedy}")
        return [Input(file, {}, (file.stem,)) for file in found], []
    if path.exists() and not path.is_dir():  # A pipe, as of <(zcat log.gz), is read once alone.
        raise errors.PfrecError(f"{path}: neither a regular file nor a folder; {remedy}")
    source.require_directory(path, remedy)
    inputs, unread = [], []
    for file in sorted(entry for entry in path.rglob("*") if not entry.is_dir()):
        between = file.relative_to(path).parts[:-1]
        hidden = any(part.startswith((".", "_")) for part in (*between, file.name))
        members = [] if hidden else _members(raw_file.RawFile(file), endings)
        readable = [member for member in members if member.has_ending(endings)]
        if not readable:
            unread.append(str(file.relative_to(path)))
        keys = dict(part.split("=", 1) for part in between if "=" in part)
        values = {k: None if v == _NO_VALUE else urllib.parse.unquote(v) for k, v in keys.items()}
        inputs += [Input(member, values, (*between, member.stem)) for member in readable]
    shown = ", ".join(unread[:_SHOWN])
    shown += f" and {len(unread) - _SHOWN} more" if len(unread) > _SHOWN else ""
    if not inputs:
        there = f"; it holds {shown}" if unread else ""
        raise errors.PfrecError(f"{path}: holds no {kinds} file{there}; {remedy}")
    notes = [f"not read, for another ending or a hidden name: {shown}"] if unread else []
    return inputs, notes


def _members(file: raw_file.RawFile, endings: Sequence[str]) -> "list[raw_file.RawFile]":
    """The file, or those of its members that have one of `endings` where it is a zip archive."""
    if file.path.suffix.lower() != ".zip":
        return [file]
    return [member for member in raw_file.zip_members(file) if member.has_ending(endings)]
