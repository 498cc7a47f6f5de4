"""Publishing: a version of a model appears whole, by rename, or not at all,
and is never overwritten.

A model server takes a directory whose name is a whole number for a version and ignores all others,
so a version is built in a directory `.tmp-*` beside it. Copying in place is seen half-written.
"""

import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Collection
from typing import Optional

from pfrec import errors, files

_MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def versions(model_directory: pathlib.Path) -> "list[int]":
    """The versions that a model directory holds, ascending."""
    if not model_directory.is_dir():
        return []
    return sorted(
        int(path.name)
        for path in model_directory.iterdir()
        if path.is_dir() and re.fullmatch(r"[0-9]+", path.name)
    )


def next_version(*model_directories: pathlib.Path) -> int:
    """One more than the highest version of any of these models, or 1."""
    return 1 + max(
        (version for directory in model_directories for version in versions(directory)), default=0
    )


def models(serving: pathlib.Path) -> "list[str]":
    """Names of the models of which a serving directory holds a version, in order."""
    if not serving.is_dir():
        return []
    return sorted(
        path.name
        for path in serving.iterdir()
        if _MODEL_NAME.fullmatch(path.name) and versions(path)
    )


class Publication:
    """Versions that are built first and published together;
    what was not published is removed at the end.

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
        if not is_model_name(model):
            raise errors.PfrecError(
                f"model name {model!r}: use letters, digits, and _ . - only; change --model_prefix "
                "or the scenario"
            )
        directory = self._serving / model
        target = directory / str(next_version(directory) if version is None else version)
        _require_absent(target)
        with files.readable_errors(directory):
            for parent in (*reversed(directory.parents), directory):
                if not parent.is_dir():
                    parent.mkdir(mode=0o755)
                    parent.chmod(0o755)
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
                # Onto a version that another process published after the look above this fails: a
                # rename replaces no full directory.
                os.rename(temporary, target)
            except OSError as error:
                done = ", ".join(map(str, published)) or "none"
                raise errors.PfrecError(
                    f"{target}: cannot be published ({error.strerror}); published before it: "
                    f"{done}; mend this and export again"
                ) from error
            del self._staged[target]
            files.sync(target.parent)
            published.append(target)
        return published


def remove_leftovers(serving: pathlib.Path) -> None:
    """Removes what publications that were killed left half-built; for a process that holds the
    directory's lock, which says that no living one is at it.
    """
    for path in serving.glob(f"*/{files.TEMPORARY_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)


def retire(model_directory: pathlib.Path, keep: int, pinned: Collection[int] = ()) -> "list[int]":
    """Removes the oldest versions of a model.

    A version disappears by rename too, so that a server never sees half of one.

    Args:
      model_directory: of the model.
      keep: how many of the highest versions stay.
      pinned: versions that stay in any case, because models.config names them.

    Returns:
      The versions that were removed.

    Raises:
      PfrecError: where one cannot be removed.
    """
    old = [version for version in versions(model_directory)[:-keep] if version not in pinned]
    for version in old:
        remove(model_directory / str(version))
    return old


def remove(version: pathlib.Path) -> None:
    """Removes a version where it is there, at once for who looks at its model's directory.

    Raises:
      PfrecError: where it cannot be removed.
    """
    if not version.is_dir():
        return
    with files.readable_errors(version):
        prefix = files.TEMPORARY_PREFIX
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=version.parent))
        os.rename(version, temporary / "retired")
        shutil.rmtree(temporary)


def is_model_name(text: str) -> bool:
    """Whether `text` can be served as a model's name."""
    return _MODEL_NAME.fullmatch(text) is not None


def _require_absent(target: pathlib.Path) -> None:
    if target.exists() or target.is_symlink():
        raise errors.PfrecError(
            f"{target}: this version is there already and is never overwritten; choose another "
            "--version"
        )


def _open_to_server(directory: pathlib.Path) -> None:
    """Lets the server, which is another user, read everything:
    mkdtemp and a strict umask would not.
    """
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
