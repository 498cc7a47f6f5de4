"""models.config: which models a server serves, and which version of each.

A server reads it at its start and, with `--model_config_file_poll_wait_seconds`, again and again.
It is replaced by rename and written when all versions are in place. A rollback is a `specific`
version policy; without one a server serves the highest version.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from google.protobuf import text_format  # type: ignore[import-untyped]
from tensorflow_serving.config import model_server_config_pb2

from export.publishing import publish
from pfrec import errors, files

FILE = "models.config"
STABLE, CANARY = "stable", "canary"


@dataclasses.dataclass(frozen=True)
class Absent:
    """Models that models.config listed although the serving directory holds no version of them.

    Attributes:
      taken_out: the base path of each whose entry was taken out, by name.
      left: of each whose entry was left as it was.
    """

    taken_out: "dict[str, str]"
    left: "dict[str, str]"


def read(serving: pathlib.Path) -> model_server_config_pb2.ModelServerConfig:
    """models.config; an empty one where there is none.

    Raises:
      PfrecError: where it is no list of models.
    """
    path = serving / FILE
    config = model_server_config_pb2.ModelServerConfig()
    if path.exists():
        try:
            text_format.Parse(path.read_text(encoding="utf-8"), config)
        except (OSError, ValueError, text_format.ParseError) as error:
            raise errors.PfrecError(
                f"{path}: cannot be read ({error}); mend or remove it"
            ) from error
        if config.HasField("custom_model_config"):
            raise errors.PfrecError(
                f"{path}: has a custom_model_config, not a list of models; move it elsewhere"
            )
    return config


def write(serving: pathlib.Path, base_path: str) -> Absent:
    """Writes models.config, which lists every model of the serving directory;
    call it when all versions are in place.

    A model that is listed already keeps its settings, such as a version policy, but for its path.
    One that is served from this very directory and whose versions were all removed is taken out,
    since a server does not start where it finds none. Where the entry or `base_path` names another
    place, what is gone here may be there, and the entry is left as it is.

    There are no version labels unless `add_canary` is asked for them: a label on a version that is
    not yet loaded stops a server at its start, unless it allows that.

    Args:
      serving: the directory.
      base_path: of that directory as the server sees it.

    Returns:
      What was listed and is not here.

    Raises:
      PfrecError: where the file there cannot be understood, or the new one not be written.
    """
    old = {entry.name: entry for entry in read(serving).model_config_list.config}
    there = publish.models(serving)
    served_here = pathlib.Path(base_path).resolve() == serving.resolve()
    absent = Absent({}, {})
    config = model_server_config_pb2.ModelServerConfig()
    for name in sorted({*old, *there}):
        if name not in there:
            place = old[name].base_path
            if served_here and pathlib.Path(place).resolve() == (serving / name).resolve():
                absent.taken_out[name] = place
                continue
            absent.left[name] = place
        entry = config.model_config_list.config.add()
        if name in old:
            entry.CopyFrom(old[name])
        if name in there:
            entry.base_path = f"{base_path.rstrip('/')}/{name}"
            entry.name, entry.model_platform = name, "tensorflow"
    _write(serving, config)
    return absent


def elsewhere(serving: pathlib.Path) -> "dict[str, str]":
    """Models of models.config that are not of the serving directory: their base paths, by name.

    Of the directory is what lies in it, or beside a model that does by the paths that the server
    sees.

    Args:
      serving: the directory.

    Raises:
      PfrecError: where there is no version of a model that is to be served from the directory, or
        the file cannot be understood.
    """
    there = publish.models(serving)
    listed = {entry.name: entry.base_path for entry in read(serving).model_config_list.config}
    places = {name: pathlib.PurePath(path) for name, path in listed.items()}
    bases = {place.parent for name, place in places.items() if place.name == name in there}
    here = {
        name: place.name
        for name, place in places.items()
        if place.parent in bases or pathlib.Path(place).resolve().parent == serving.resolve()
    }
    missing = sorted(name for name, directory in here.items() if directory not in there)
    if missing:
        raise errors.PfrecError(
            f"{serving / FILE}: lists {', '.join(missing)}, of which there is no version; export "
            "it, or remove its entry"
        )
    return {name: path for name, path in listed.items() if name not in here}


def pinned(serving: pathlib.Path) -> "dict[str, list[int]]":
    """The versions that models.config names, by model;
    a model that is served at its highest version is not in it.

    Raises:
      PfrecError: where the file cannot be understood.
    """
    found = {
        entry.name: sorted(entry.model_version_policy.specific.versions)
        for entry in read(serving).model_config_list.config
    }
    return {name: list(versions) for name, versions in found.items() if versions}


def served(serving: pathlib.Path) -> "dict[str, int]":
    """The version that each model answers with where nobody asks for another: beside a canary the
    stable one, else the pinned one, else the highest.

    Raises:
      PfrecError: where the file cannot be understood.
    """
    pins = pinned(serving)
    found = {
        name: max(pins.get(name) or publish.versions(serving / name))
        for name in publish.models(serving)
    }
    for entry in read(serving).model_config_list.config:
        if entry.name in found and _has_canary(entry):
            found[entry.name] = entry.version_labels[STABLE]
    return found


def add_canary(serving: pathlib.Path, stable: Mapping[str, int], version: int) -> None:
    """Serves a new version of some models beside the one served until now, both by label.

    A client asks for `/v1/models/NAME/labels/canary`; one that names no label gets the highest
    version. `roll_forward` ends it with the new version, `roll_back` with the stable one.

    Args:
      serving: the directory.
      stable: the version of each model that was served until now.
      version: the new one.

    Raises:
      PfrecError: where models.config cannot be written.
    """
    config = read(serving)
    for entry in config.model_config_list.config:
        if entry.name in stable:
            entry.model_version_policy.specific.versions[:] = [stable[entry.name], version]
            entry.version_labels[STABLE] = stable[entry.name]
            entry.version_labels[CANARY] = version
    _write(serving, config)


def holding(serving: pathlib.Path) -> str:
    """The text of a models.config under which every model goes on with the versions that it is
    served with now, whatever else appears beside them; empty where there is none.

    Raises:
      PfrecError: where the file cannot be understood.
    """
    config = read(serving)
    for entry in config.model_config_list.config:
        policy, have = entry.model_version_policy, publish.versions(serving / entry.name)
        kind = policy.WhichOneof("policy_choice")
        if kind != "specific" and have:
            count = len(have) if kind == "all" else max(1, policy.latest.num_versions)
            policy.specific.versions[:] = have[-count:]
    return str(text_format.MessageToString(config))


def roll_back(
    serving: pathlib.Path, version: Optional[int] = None, names: Sequence[str] = ()
) -> "dict[str, int]":
    """Pins models of the serving directory to an older version, all at once.

    Args:
      serving: the directory.
      version: to go to; None for the version before the one that is served now, model by model.
      names: of the models; all where there are none.

    Returns:
      The version of each model.

    Raises:
      PfrecError: where a model does not have the version, or none before the one it serves; nothing
        is changed then.
    """
    return _pin(
        serving,
        {
            name: _before(serving, name) if version is None else version
            for name in _listed(serving, names)
        },
    )


def roll_forward(serving: pathlib.Path, names: Sequence[str] = ()) -> "dict[str, int]":
    """Ends pins, so that models are served at their highest versions again, and returns these.

    Args:
      serving: the directory.
      names: of the models; all where there are none.

    Raises:
      PfrecError: where there is no model, or models.config cannot be written.
    """
    names = _listed(serving, names)
    config = read(serving)
    for entry in config.model_config_list.config:
        if entry.name in names:
            _require_labels(serving, entry, publish.versions(serving / entry.name)[-1])
            entry.ClearField("model_version_policy")
    _write(serving, config)
    return {name: publish.versions(serving / name)[-1] for name in names}


def _pin(serving: pathlib.Path, wanted: Mapping[str, int]) -> "dict[str, int]":
    config = read(serving)
    for entry in config.model_config_list.config:
        if entry.name in wanted:
            have = publish.versions(serving / entry.name)
            if wanted[entry.name] not in have:
                raise errors.PfrecError(
                    f"{serving / entry.name}: has no version {wanted[entry.name]}; it has "
                    f"{', '.join(map(str, have))}, choose one as --version"
                )
            _require_labels(serving, entry, wanted[entry.name])
            del entry.model_version_policy.specific.versions[:]
            entry.model_version_policy.specific.versions.append(wanted[entry.name])
    _write(serving, config)
    return dict(wanted)


def _require_labels(serving: pathlib.Path, entry: Any, served: int) -> None:
    """Refuses what would leave a label on a version that is served no more: a server does not start
    with one, and does not take the file up while it runs. The labels of `add_canary` go with what
    they were for.
    """
    if _has_canary(entry):
        for name in (STABLE, CANARY):
            del entry.version_labels[name]
    stale = {name: number for name, number in entry.version_labels.items() if number != served}
    if stale:
        told = ", ".join(f"{name} ({number})" for name, number in sorted(stale.items()))
        raise errors.PfrecError(
            f"{serving / FILE}: the labels {told} of {entry.name} name versions that would be "
            f"served no more, and a server refuses that; remove them, or let them name {served}"
        )


def _has_canary(entry: Any) -> bool:
    return STABLE in entry.version_labels and CANARY in entry.version_labels


def _before(serving: pathlib.Path, name: str) -> int:
    have = publish.versions(serving / name)
    now = max(pinned(serving).get(name, have))
    older = [version for version in have if version < now]
    if not older:
        raise errors.PfrecError(
            f"{serving / name}: has no version before {now}, which is served now, so "
            "nothing was rolled back; name the others with --scenario, or export one first"
        )
    stable = served(serving)[name]
    return stable if stable < now else older[-1]


def _listed(serving: pathlib.Path, wanted: Sequence[str] = ()) -> "list[str]":
    """Models of models.config that have a version in the serving directory: those of some names, or
    all where there are none.
    """
    names = set(publish.models(serving))
    found = [entry.name for entry in read(serving).model_config_list.config if entry.name in names]
    strange = [name for name in wanted if name not in found]
    if found and strange:
        raise errors.PfrecError(
            f"{serving / FILE}: lists no model {', '.join(strange)}; it lists {', '.join(found)}"
        )
    found = [name for name in found if name in wanted] if wanted else found
    if not found:
        raise errors.PfrecError(
            f"{serving / FILE}: lists no model of this directory; name what pfrec-export wrote "
            "as --output"
        )
    return found


def _write(serving: pathlib.Path, config: model_server_config_pb2.ModelServerConfig) -> None:
    files.write_bytes(serving / FILE, text_format.MessageToString(config).encode(), public=True)
