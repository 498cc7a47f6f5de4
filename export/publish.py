"""Publishing: a version of a model appears whole, by rename, or not at all, and is never overwritten.

A model server takes a directory whose name is a whole number for a version and ignores all others, so a version is built in a directory
`.tmp-*` beside it. Copying in place is seen half-written.
"""

import os
import pathlib
import re
import shutil
import tempfile
from typing import Optional

from google.protobuf import text_format  # type: ignore[import-untyped]
from tensorflow_serving.config import model_server_config_pb2

from pfrec import errors, files

CONFIG_FILE = "models.config"
_MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def versions(model_directory: pathlib.Path) -> "list[int]":
    """The versions that a model directory holds, ascending."""
    if not model_directory.is_dir():
        return []
    return sorted(int(path.name) for path in model_directory.iterdir() if path.is_dir() and re.fullmatch(r"[0-9]+", path.name))


def next_version(model_directory: pathlib.Path) -> int:
    """One more than the highest version, or 1."""
    return max(versions(model_directory), default=0) + 1


def models(serving: pathlib.Path) -> "list[str]":
    """Names of the models of which a serving directory holds a version, in order."""
    if not serving.is_dir():
        return []
    return sorted(path.name for path in serving.iterdir() if _MODEL_NAME.fullmatch(path.name) and versions(path))


class Publication:
    """Versions that are built first and published together; what was not published is removed at the end.

        with Publication(serving) as publication:
            directory = publication.stage("NL", None)
            ...  # write and verify
            publication.publish()

    Args:
      serving: directory that holds a directory per model.
    """

    def __init__(self, serving: pathlib.Path) -> None:
        self._serving = serving
        self._staged: dict[pathlib.Path, pathlib.Path] = {}
        self._made: list[pathlib.Path] = []

    def __enter__(self) -> "Publication":
        return self

    def __exit__(self, *raised: object) -> None:
        for temporary in self._staged.values():
            shutil.rmtree(temporary, ignore_errors=True)
        for directory in reversed(self._made):
            if directory.is_dir() and not any(directory.iterdir()):
                directory.rmdir()

    def stage(self, model: str, version: Optional[int] = None) -> pathlib.Path:
        """Makes the directory in which a version is built.

        Args:
          model: name of the model.
          version: its number; None for the next one.

        Returns:
          The temporary directory; `target` tells where it goes.

        Raises:
          PfrecError: where the model's name cannot be served, or the version is there already.
        """
        if not _MODEL_NAME.fullmatch(model):
            raise errors.PfrecError(
                f"model name {model!r}: use letters, digits, and _ . - only; change --model_prefix or the scenario"
            )
        directory = self._serving / model
        target = directory / str(next_version(directory) if version is None else version)
        _require_absent(target)
        with files.readable_errors(directory):
            for parent in (*reversed(directory.parents), directory):
                if not parent.is_dir():
                    parent.mkdir(mode=0o755)
                    self._made.append(parent)
            temporary = pathlib.Path(tempfile.mkdtemp(prefix=files.TEMPORARY_PREFIX, dir=directory))
        self._staged[target] = temporary
        return temporary

    def target(self, temporary: pathlib.Path) -> pathlib.Path:
        """Where a staged directory is published."""
        return next(target for target, staged in self._staged.items() if staged == temporary)

    def publish(self) -> "list[pathlib.Path]":
        """Makes all staged versions visible, one rename each, and returns their directories.

        Raises:
          PfrecError: where one was published by another in the meantime, or there is no space.
        """
        for target, temporary in self._staged.items():
            with files.readable_errors(target):
                _open_to_server(temporary)
                files.sync_tree(temporary)
        published: list[pathlib.Path] = []
        for target, temporary in list(self._staged.items()):
            _require_absent(target)
            try:
                # Onto a version that another process published after the look above this fails: a rename replaces no full directory.
                os.rename(temporary, target)
            except OSError as error:
                done = ", ".join(map(str, published)) or "none"
                raise errors.PfrecError(
                    f"{target}: cannot be published ({error.strerror}); published before it: {done}; mend this and export again"
                ) from error
            del self._staged[target]
            files.sync(target.parent)
            published.append(target)
        return published


def read_config(serving: pathlib.Path) -> model_server_config_pb2.ModelServerConfig:
    """models.config; an empty one where there is none.

    Raises:
      PfrecError: where it is no list of models.
    """
    path = serving / CONFIG_FILE
    config = model_server_config_pb2.ModelServerConfig()
    if path.exists():
        try:
            text_format.Parse(path.read_text(encoding="utf-8"), config)
        except (OSError, ValueError, text_format.ParseError) as error:
            raise errors.PfrecError(f"{path}: cannot be read ({error}); mend or remove it") from error
        if config.HasField("custom_model_config"):
            raise errors.PfrecError(f"{path}: has a custom_model_config, not a list of models; move it elsewhere")
    return config


def write_config(serving: pathlib.Path, base_path: str) -> pathlib.Path:
    """Writes models.config, which lists every model of the serving directory; call it when all versions are in place.

    A model that is listed already keeps its settings, such as a version policy set by hand, but for its path. There are no version
    labels: a label on a version that is not yet loaded stops a server at its start.

    Args:
      serving: the directory.
      base_path: of that directory as the server sees it.

    Returns:
      The file.

    Raises:
      PfrecError: where the file there cannot be understood, or the new one not be written.
    """
    old = {entry.name: entry for entry in read_config(serving).model_config_list.config}
    config = model_server_config_pb2.ModelServerConfig()
    for name in sorted({*old, *models(serving)}):
        entry = config.model_config_list.config.add()
        if name in old:
            entry.CopyFrom(old[name])
        if name not in old or (serving / name).is_dir():
            entry.base_path = f"{base_path.rstrip('/')}/{name}"
        entry.name, entry.model_platform = name, "tensorflow"
    path = serving / CONFIG_FILE
    files.write_bytes(path, text_format.MessageToString(config).encode())
    return path


def _require_absent(target: pathlib.Path) -> None:
    if target.exists() or target.is_symlink():
        raise errors.PfrecError(f"{target}: this version is there already and is never overwritten; choose another --version")


def _open_to_server(directory: pathlib.Path) -> None:
    """Lets the server, which is another user, read everything: mkdtemp and a strict umask would not."""
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
