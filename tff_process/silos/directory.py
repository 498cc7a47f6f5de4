"""The directory of one silo: what is in it, what of it the driver may know,
and what is removed from it.

CLIENT/data/                            what pfrec-convert wrote of this silo's one scenario:
                                        dataset.json, NL/schema.json, NL/train-*.tfrecord, ...
CLIENT/secret                           16 random bytes of this silo's own, of which the order of
                                        its rows follows; never leaves it
CLIENT/silo.json                        what a driver is told of it, and no more; written by
                                        pfrec-worker from the data
CLIENT/runs/ID/version_00007/           the private state after aggregation 7 of the training ID;
                                        written by the client's own computation
CLIENT/runs/ID/shared/round_00007/      the values it got back from the server after round 7, the
                                        training's best round
CLIENT/runs/ID/keep.json                the versions that the training still needs; pfrec-worker
                                        removes the others
CLIENT/runs/ID/refused/                 why the server refused an update
CLIENT/client.json                      the last finished training, which pfrec-export --client_dir
                                        exports
CLIENT/ledger.jsonl                     what left under an agreement, see `ledger`
CLIENT/logs/                            of the worker, the tunnel and the gatekeeper
"""

import dataclasses
import fcntl
import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from pfrec import client_directory, coarsening, errors, files
from pfrec.data import schema as schema_lib
from pfrec.data import splits
from pfrec.data.dataset import dataset as dataset_lib

DATA, RUNS, CLIENT = client_directory.DATA, client_directory.RUNS, client_directory.CLIENT
FACTS, KEEP, SECRET, LOGS = "silo.json", "keep.json", "secret", "logs"
SECRET_BYTES = 16
FORMAT_VERSION = 1
_LOCK = ".lock"


@dataclasses.dataclass(frozen=True)
class Facts:
    """All that a driver is told of a silo before it trains:
    the least that it needs to plan a round.

    Attributes:
      scenario: which one it serves.
      schema: of its rows, the agreed one.
      train_rows: rows of its training split, of which steps per epoch follow, to two significant
        digits (`coarsening.row_count`).
      tasks: those with observed labels in its training rows.
      shards: by split, paths of its shards relative to the client directory; the data stay there.
      agreed: the plan that the silo agreed to, as plain data; None where it has no agreement.
    """

    scenario: str
    schema: schema_lib.Schema
    train_rows: int
    tasks: "tuple[str, ...]"
    shards: "Mapping[str, tuple[str, ...]]"
    agreed: "Optional[Mapping[str, Any]]" = None

    def to_json(self) -> "dict[str, Any]":
        """Plain data for silo.json."""
        return {
            "format_version": FORMAT_VERSION,
            "scenario": self.scenario,
            "schema": self.schema.to_json(),
            "shards": {split: list(names) for split, names in self.shards.items()},
            "tasks": list(self.tasks),
            "train_rows": self.train_rows,
            **({} if self.agreed is None else {"agreed": dict(self.agreed)}),
        }

    @classmethod
    def from_json(cls, value: Any, *, place: str) -> "Facts":
        """The inverse of `to_json`.

        Raises:
          PfrecError: where it is of another version or not a silo's.
        """
        version = value.get("format_version") if isinstance(value, dict) else None
        if version != FORMAT_VERSION:
            raise errors.PfrecError(
                f"{place}: facts of format version {version}, this pfrec reads {FORMAT_VERSION}; "
                "use the same pfrec there"
            )
        try:
            return cls(
                scenario=str(value["scenario"]),
                schema=schema_lib.Schema.from_json(value["schema"], place=place),
                train_rows=int(value["train_rows"]),
                tasks=tuple(value["tasks"]),
                shards={split: tuple(value["shards"][split]) for split in splits.SPLITS},
                agreed=value.get("agreed"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise errors.PfrecError(
                f"{place}: not a silo's facts ({error!r}); use the same pfrec there"
            ) from error


def facts(directory: pathlib.Path) -> Facts:
    """What a driver may know of a silo's data, which are verified.

    Raises:
      PfrecError: where there are no data of exactly one scenario, or they are damaged.
    """
    data = dataset_lib.Dataset.open(directory / DATA)
    if len(data.scenarios) != 1:
        raise errors.PfrecError(
            f"{data.path}: holds the scenarios {', '.join(data.scenarios)}; a silo has one, "
            f"convert its rows alone into {data.path}"
        )
    data.verify()
    (scenario,) = data.scenarios
    return Facts(
        scenario=scenario,
        schema=data.schema,
        train_rows=coarsening.row_count(data.rows(scenario, "train")),
        tasks=tuple(
            task.name for task in data.schema.tasks if data.observed(scenario, "train", task.name)
        ),
        shards={
            split: tuple(os.path.relpath(path, directory) for path in data.shards(scenario, split))
            for split in splits.SPLITS
        },
    )


def prepare(directory: pathlib.Path, agreed: "Optional[Mapping[str, Any]]" = None) -> Facts:
    """Writes what a driver is told of a silo, its `facts`, and makes what is not there yet.

    Args:
      directory: of the client.
      agreed: the plan that the silo agreed to.

    Raises:
      PfrecError: as of `facts`, or where the directory cannot be written.
    """
    told = dataclasses.replace(facts(directory), agreed=agreed)
    for name in (RUNS, LOGS):
        with files.readable_errors(directory / name):
            (directory / name).mkdir(mode=0o700, exist_ok=True)
    _make_secret(directory / SECRET)
    files.write_json(directory / FACTS, told.to_json())
    return told


def _make_secret(path: pathlib.Path) -> None:
    """Makes the silo's secret where there is none yet, readable by its owner alone."""
    with files.readable_errors(path):
        if path.exists():
            if path.stat().st_size != SECRET_BYTES:
                raise errors.PfrecError(
                    f"{path}: holds {path.stat().st_size} bytes, not {SECRET_BYTES}; remove it, "
                    "and a new one is made"
                )
            return
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(os.urandom(SECRET_BYTES))


class Lock:
    """Held by the one worker that serves a client directory, until its process ends.

    Args:
      directory: the client directory.

    Raises:
      PfrecError: where another one holds it.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        with files.readable_errors(directory):
            self._file = (directory / _LOCK).open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise errors.PfrecError(
                f"{directory}: another pfrec-worker serves it; end that one first"
            ) from None

    def release(self) -> None:
        """Lets another one serve it."""
        self._file.close()


def kept(versions: Sequence[int]) -> str:
    """The content of keep.json."""
    return files.json_text({"keep": sorted(set(versions))})


def remove_old(directory: pathlib.Path) -> None:
    """Removes from each training of a client directory the versions that it no longer needs, those
    after the last needed one excepted.

    One after the last needed one may belong to a round under way. A file that is just being written
    does not count yet.
    """
    for path in directory.glob(f"{RUNS}/*/{KEEP}"):
        try:
            keep = {int(number) for number in json.loads(path.read_text(encoding="utf-8"))["keep"]}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        for old in path.parent.iterdir():
            version = client_directory.version_of(old.name)
            if keep and version not in keep and 0 <= version < max(keep):
                shutil.rmtree(old, ignore_errors=True)
