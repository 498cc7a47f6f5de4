"""The manifest of a version: the SHA-256 of each of its files, and what the model is.

TensorFlow's fingerprint.pb covers the graph alone, and not even that after a tool changed it. The manifest holds no times, so equal
exports give equal manifests, and a checksum of its own content.
"""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import pfrec
from export import signature
from pfrec import errors, files
from pfrec.data import schema as schema_lib

FILE = "assets.extra/pfrec_manifest.json"
FORMAT_VERSION = 1
_REMEDY = "export the model again"


def write(
    directory: pathlib.Path,
    *,
    model: str,
    scenario: str,
    schema: schema_lib.Schema,
    variables: Mapping[str, Any],
    run: Mapping[str, Any],
) -> None:
    """Writes the manifest of a version, as the last of its files.

    Args:
      directory: of the version.
      model: name of the served model.
      scenario: that it was trained for.
      schema: of its features and tasks.
      variables: shape of each variable, by name in the checkpoint.
      run: `id` and `round` of the training.

    Raises:
      PfrecError: where it cannot be written.
    """
    value = {
        "files": {name: files.sha256(directory / name) for name in file_names(directory) if name != FILE},
        "format_version": FORMAT_VERSION,
        "model": model,
        "pfrec_version": pfrec.__version__,
        "run": dict(run),
        "scenario": scenario,
        "schema": schema.to_json(),
        "signature": {
            signature.NAME: {"inputs": signature.input_dtypes(schema), "outputs": signature.output_dtypes(schema)},
        },
        "variables": dict(variables),
    }
    value["sha256"] = _own_sha256(value)
    files.write_json(directory / FILE, value)


def read(directory: pathlib.Path) -> "dict[str, Any]":
    """The manifest of a version.

    Raises:
      PfrecError: where it is missing, damaged, or of another format version.
    """
    path = directory / FILE
    value = files.read_json(path, remedy=_REMEDY)
    if not isinstance(value, dict):
        raise errors.PfrecError(f"{path}: not a manifest; {_REMEDY}")
    # The version first: another version may compute the checksum in another way.
    version = value.get("format_version")
    if version != FORMAT_VERSION:
        raise errors.PfrecError(f"{path}: format version {version}, this pfrec reads {FORMAT_VERSION}; {_REMEDY}")
    if value.get("sha256") != _own_sha256(value) or path.read_text(encoding="utf-8") != files.json_text(value):
        raise errors.PfrecError(f"{path}: damaged (its content does not have the checksum it states); {_REMEDY}")
    return value


def file_names(directory: pathlib.Path) -> "list[str]":
    """Paths of all files below a directory, relative to it, with slashes, in order."""
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir())


def differences(directory: pathlib.Path, value: Mapping[str, Any]) -> "list[str]":
    """What differs between a manifest and the files of its version, in words; empty where nothing does."""
    present, listed = set(file_names(directory)) - {FILE}, value["files"]
    found = [f"{name} is missing" for name in sorted(set(listed) - present)]
    found += [f"{name} is not in the manifest" for name in sorted(present - set(listed))]
    for name in sorted(present & set(listed)):
        if files.sha256(directory / name) != listed[name]:
            found.append(f"{name} was changed")
    return found


def _own_sha256(value: Mapping[str, Any]) -> str:
    text = files.json_text({key: part for key, part in value.items() if key != "sha256"})
    return hashlib.sha256(text.encode()).hexdigest()
