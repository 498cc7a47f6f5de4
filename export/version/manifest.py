"""The manifest of a version: the SHA-256 of each of its files, and what the model is.

TensorFlow's fingerprint.pb covers the graph alone, and not even that after a tool changed it. The
manifest holds no times, so equal exports give equal manifests, and a checksum of its own content.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any, Optional

import pfrec
from export import interface
from pfrec import errors, files
from pfrec.data import schema as schema_lib

FILE = "assets.extra/pfrec_manifest.json"
FORMAT_VERSION = 1
_REMEDY = "export the model again"


def describe(
    *,
    model: str,
    scenario: Optional[str],
    served: interface.Interface,
    variables: Mapping[str, Any],
    run: Mapping[str, Any],
    made: Mapping[str, Any],
    expected: Mapping[str, "list[float]"],
) -> "dict[str, Any]":
    """What a manifest says besides the files.

    Args:
      model: name of the served model.
      scenario: that it was trained for; None for a router.
      served: its interface.
      variables: shape of each variable, by name in the checkpoint.
      run: `id` and `round` of the training.
      made: how the export was made, such as whether it is folded.
      expected: what the trained model answers to the largest warm-up request of `serving_default`,
        by task.
    """
    return {
        "expected": dict(expected),
        "made": dict(made),
        "model": model,
        "run": dict(run),
        "scenario": scenario,
        "scenarios": list(served.scenarios),
        "schema": served.schema.to_json(),
        "signatures": {
            name: dataclasses.asdict(value) for name, value in served.signatures().items()
        },
        "variables": dict(variables),
    }


def write(directory: pathlib.Path, described: Mapping[str, Any]) -> None:
    """Writes the manifest of a version, as the last of its files.

    Args:
      directory: of the version.
      described: what `describe` made.

    Raises:
      PfrecError: where it cannot be written.
    """
    value = {
        **described,
        "files": {
            name: files.sha256(directory / name) for name in file_names(directory) if name != FILE
        },
        "format_version": FORMAT_VERSION,
        "pfrec_version": pfrec.__version__,
    }
    value["sha256"] = _own_sha256(value)
    files.write_json(directory / FILE, value)


def served_by(value: Mapping[str, Any], *, place: str) -> interface.Interface:
    """The interface that a manifest describes.

    Raises:
      PfrecError: where its schema is of another version.
    """
    return interface.Interface(
        schema_lib.Schema.from_json(value["schema"], place=place), tuple(value["scenarios"])
    )


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
        raise errors.PfrecError(
            f"{path}: format version {version}, this pfrec reads {FORMAT_VERSION}; {_REMEDY}"
        )
    if value.get("sha256") != _own_sha256(value) or path.read_text(
        encoding="utf-8"
    ) != files.json_text(value):
        raise errors.PfrecError(
            f"{path}: damaged (its content does not have the checksum it states); {_REMEDY}"
        )
    return value


def file_names(directory: pathlib.Path) -> "list[str]":
    """Paths of all files below a directory, relative to it, with slashes, in order."""
    return sorted(
        path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir()
    )


def differences(directory: pathlib.Path, value: Mapping[str, Any]) -> "list[str]":
    """What differs between a manifest and the files of its version, in words;
    empty where nothing does.
    """
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
