"""The directory of one silo: what is in it, what of it the driver may know,
and what is removed from it.

CLIENT/data/                            what pfrec-convert wrote of this silo's one scenario:
                                        dataset.json, NL/schema.json, NL/train-*.tfrecord, ...
CLIENT/secret                           16 random bytes of this silo's own; never leaves it
CLIENT/secret_of_rows                   16 bytes of it and of the rows of now, of which their order
                                        follows; written by pfrec-worker, never leaves either
CLIENT/silo.json                        what a driver is told of it, and no more; written by
                                        pfrec-worker from the data
CLIENT/runs/ID/version_00007/           the private state after aggregation 7 of the training ID;
                                        written by the client's own computation
CLIENT/runs/ID/shared/round_00007/      the values it got back from the server after round 7, the
                                        training's best round
CLIENT/runs/ID/client_schema.json       its own vocabularies and statistics when the training began,
                                        copied from its data by pfrec-worker
CLIENT/runs/ID/keep.json                the versions that the training still needs; pfrec-worker
                                        removes the others
CLIENT/runs/ID/refused/                 why the server refused an update
CLIENT/runs/ID/continue.json            the finished training that this one goes on from, as its
                                        driver notes it; pfrec-worker carries the private state over
                                        to version_00000 (`continuing`)
CLIENT/runs/finished.json               what the model of a training is of, as its driver notes it;
                                        pfrec-worker makes it CLIENT/client.json once it is whole
CLIENT/client.json                      of the last finished training, which pfrec-export
                                        --client_dir exports
CLIENT/ledger.jsonl                     what left under an agreement, see `ledger`
CLIENT/logs/                            of the worker, the tunnel and the gatekeeper
"""

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import hashlib
import hmac
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Optional

import pfrec
from pfrec import client_directory, coarsening, errors, files, json_fields, names, run_data
from pfrec.data import schema as schema_lib
from pfrec.data import splits
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import trainable, writer

DATA, RUNS, CLIENT = client_directory.DATA, client_directory.RUNS, client_directory.CLIENT
FACTS, KEEP, SECRET, LOGS = "silo.json", "keep.json", "secret", "logs"
# What the order of the rows of now follows from, of the secret: rows that were appended to would
# else begin an epoch by those of before, and batches of another size hold a part of the same ones.
ROWS_SECRET = "secret_of_rows"
CONTINUE = "continue.json"
SECRET_BYTES = 16
FORMAT_VERSION = 1
# Of a training, under an agreement; and of rounds that are kept, which leaves room for those that
# are not removed yet.
MOST_STATES, MOST_KEPT = 256, 200
# In `runs/`, where alone the worker writes.
FINISHED = f"{RUNS}/finished.json"
_LOCK = ".lock"
# A version of pfrec, which a driver prints: no codes for its terminal.
_RELEASE = re.compile(r"[0-9A-Za-z.!+-]{0,40}")


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
      data: a keyed digest of its rows, `run_data.keyed`: whether they are the same, and no more.
      version: of its pfrec; empty where that does not say it.
    """

    scenario: str
    schema: schema_lib.Schema
    train_rows: int
    tasks: "tuple[str, ...]"
    shards: "Mapping[str, tuple[str, ...]]"
    agreed: "Optional[Mapping[str, Any]]" = None
    data: str = ""
    version: str = ""

    def to_json(self) -> "dict[str, Any]":
        """Plain data for silo.json."""
        return {
            "data": self.data,
            "format_version": FORMAT_VERSION,
            "pfrec": self.version,
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
                f"{place}: facts of format version {version!r}, this pfrec reads "
                f"{FORMAT_VERSION}; use the same pfrec there"
            )
        told = json_fields.Fields(value, place, "not a silo's facts: use the same pfrec there")
        schema = schema_lib.Schema.from_json(told.fields("schema").value, place=place)
        known, tasks = [task.name for task in schema.tasks], told.texts("tasks")
        if not set(tasks) <= set(known):
            raise errors.PfrecError(f"{place}: names tasks that its schema does not have")
        shards, release = told.fields("shards"), told.text("pfrec") if "pfrec" in told else ""
        if not _RELEASE.fullmatch(release):
            raise errors.PfrecError(f"{place}: its pfrec is {release[:40]!r}; see what runs there")
        return cls(
            scenario=names.require(told.text("scenario"), place=place),
            schema=schema,
            train_rows=told.integer("train_rows", 1),
            tasks=tasks,
            shards={split: shards.texts(split) for split in splits.SPLITS},
            agreed=None if told.plain("agreed") is None else told.fields("agreed").value,
            data=told.text("data") if "data" in told else "",
            version=release,
        )


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
    trainable.require(data)
    (scenario,) = data.scenarios
    _make_secret(directory / SECRET)
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
        data=run_data.keyed(data.digests[scenario], (directory / SECRET).read_bytes()),
        version=pfrec.__version__,
    )


def other_rows(directory: pathlib.Path, told: Facts) -> str:
    """What to say where a silo's worker last started with other rows, under the same agreed plan:
    an agreement binds what leaves, not of which rows. Empty where it did not.

    Args:
      directory: of the client, whose facts are still those of before.
      told: the facts of now.
    """
    path = directory / FACTS
    if told.agreed is None or not path.exists():
        return ""
    try:
        before = Facts.from_json(files.read_json(path, remedy=""), place=str(path))
    except errors.PfrecError:
        return ""  # Of another version, or damaged: it is written anew.
    if before.agreed != told.agreed or not before.data or before.data == told.data:
        return ""
    return (
        f"{directory / DATA}: other rows than at the last start, under this agreed plan, "
        f"{told.train_rows:,} training rows (to two digits) where there were "
        f"{before.train_rows:,}; the agreement holds for them too, and its bounds go on counting: "
        "where that is not meant, end this worker and make a new agreement with pfrec-agreement"
    )


def prepare(
    directory: pathlib.Path,
    agreed: "Optional[Mapping[str, Any]]" = None,
    warn: "Optional[Callable[[str], None]]" = None,
) -> Facts:
    """Writes what a driver is told of a silo, its `facts`, and makes what is not there yet.

    Args:
      directory: of the client.
      agreed: the plan that the silo agreed to.
      warn: is told of `other_rows`.

    Raises:
      PfrecError: as of `facts`, or where the directory cannot be written.
    """
    told = dataclasses.replace(facts(directory), agreed=agreed)
    for name in (RUNS, LOGS):
        with files.readable_errors(directory / name):
            (directory / name).mkdir(mode=0o700, exist_ok=True)
    publish(directory)
    if warn is not None and (changed := other_rows(directory, told)):
        warn(changed)
    files.write_json(directory / FACTS, told.to_json())
    order = secret_of_rows((directory / SECRET).read_bytes(), told.data, agreed)
    files.write_bytes(directory / ROWS_SECRET, order)
    return told


def publish(directory: pathlib.Path) -> None:
    """Makes the note of a finished training the client's record, whole and synced; one that is
    still being written, or that a kill cut short, is left for another time.

    Raises:
      PfrecError: where it cannot be.
    """
    noted, record = directory / FINISHED, directory / CLIENT
    with files.readable_errors(record):
        try:
            files.parse_json(noted.read_bytes())
            files.sync(noted)
            os.replace(noted, record)
        except (FileNotFoundError, ValueError):
            return
        files.sync(directory)


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


def secret_of_rows(secret: bytes, data: str, agreed: "Optional[Mapping[str, Any]]" = None) -> bytes:
    """What `ROWS_SECRET` holds.

    Args:
      secret: what `SECRET` holds.
      data: the keyed digest of the rows.
      agreed: the plan that the silo agreed to, as plain data: batches of another size, which would
        cut one order elsewhere, have one of their own.
    """
    batch = (agreed or {}).get("batch_size", 0)
    made = hmac.new(secret, f"order of {data} in {batch}".encode(), hashlib.sha256).digest()
    return made[:SECRET_BYTES]


class Lock:
    """Held by the one worker that serves a client directory, until its process ends.

    Args:
      directory: the client directory.

    Raises:
      PfrecError: where another one holds it.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        with files.readable_errors(directory):
            descriptor = files.owners_alone(str(directory / _LOCK), os.O_WRONLY | os.O_CREAT)
            self._file = os.fdopen(descriptor, "w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise errors.PfrecError(
                f"{directory}: another pfrec-worker serves it; end that one first"
            ) from None

    def release(self) -> None:
        """Lets another one serve it."""
        self._file.close()


class KeptSchemas:
    """Keeps what the silo alone knows of its schema beside the states of each training that begins
    while the data are those of now: they may be converted again before the model is exported.

    Args:
      directory: of the client; its data are verified.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        own = list((directory / DATA).glob(f"*/{writer.CLIENT_SCHEMA_FILE}"))
        self._runs, self._text = directory / RUNS, own[0].read_bytes() if own else b""
        # Of these nobody knows on which data they began.
        self._before = set(self._runs.glob("*"))

    def keep(self) -> None:
        """Does it for the trainings that began since.

        Raises:
          PfrecError: where a file cannot be written.
        """
        for run in self._runs.glob("*") if self._text else ():
            path = run / writer.CLIENT_SCHEMA_FILE
            if run not in self._before and run.is_dir() and not path.exists():
                files.write_bytes(path, self._text)


class Synced:
    """What trainings wrote, made to survive a power cut before a driver is told that it is written;
    what does so already is not written to the disk once more.

    Args:
      directory: of the client.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._known: set[tuple[pathlib.Path, int]] = set()
        # A disk makes what is asked of it at one time survive at one time.
        self._threads = concurrent.futures.ThreadPoolExecutor(8, thread_name_prefix="sync")

    def sync(self, training: str) -> None:
        """Makes a training's files, and what leads to them, survive.

        Raises:
          PfrecError: where it cannot be done.
        """
        place = self._directory / RUNS / training
        self._sync([*_below(place), place])
        publish(self._directory)

    def look(self) -> None:
        """Makes the files of all trainings survive, for a silo without a gatekeeper, whose worker
        answers a driver before. A power cut may cost it the rounds since; `--resume` then goes back
        to the last one that all have.

        Raises:
          PfrecError: where it cannot be done.
        """
        self._sync([*_below(self._directory / RUNS)])

    def _sync(self, paths: "Sequence[pathlib.Path]") -> None:
        above = (self._directory / RUNS, self._directory / CLIENT, self._directory)
        now: set[tuple[pathlib.Path, int]] = set()
        for path in (*paths, *above):
            # What is old may be removed meanwhile.
            with contextlib.suppress(FileNotFoundError):
                # Of the last change of content or name, before it is synced.
                now.add((path, path.stat().st_ctime_ns))

        def sync(path: pathlib.Path) -> None:
            with contextlib.suppress(FileNotFoundError):
                files.sync(path)

        with files.readable_errors(self._directory):
            list(self._threads.map(sync, [path for path, _ in now - self._known]))
        self._known = now


def _below(place: pathlib.Path) -> "Iterator[pathlib.Path]":
    """All that is in a directory, at any depth. Old versions are removed meanwhile, which
    `pathlib.Path.rglob` fails at.
    """
    for parent, directories, names_there in os.walk(place):
        for name in (*directories, *names_there):
            yield pathlib.Path(parent, name)


def states(directory: pathlib.Path, training: str) -> int:
    """How many states, private ones and those of the server's, a training has in a silo."""
    place = directory / RUNS / training
    return sum(1 for name in ("version_*", "shared/*") for _ in place.glob(name))


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
            told = files.read_json(path, remedy="it is written anew after the next round")
            keep = set(json_fields.Fields(told, str(path), "written anew").integers("keep"))
        except errors.PfrecError:
            continue
        # What is to be kept is there, or the note is not of this training.
        if keep and not (path.parent / client_directory.version_name(max(keep))).is_dir():
            continue
        for old in path.parent.iterdir():
            version = client_directory.version_of(old.name)
            if keep and version not in keep and 0 <= version < max(keep):
                shutil.rmtree(old, ignore_errors=True)
