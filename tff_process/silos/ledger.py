"""The ledger of a silo: a line for everything that left it,
each bound to the line before by its hash.

A line is written and on the disk before the answer that it tells of leaves. Whoever changes or
removes a line breaks the chain at that place; a line cut off at the end is told by the hash of the
last one, which `pfrec-ledger` prints for the silo's owner to keep elsewhere.
"""

import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from pfrec import errors, files
from tff_process.silos import labels

FILE = "ledger.jsonl"
# The beginning of one, which nothing leaves with; further kinds are `labels.LEAVES`.
TRAINING = "training"
# A private state that is written, with what it follows from (`origins`); nothing leaves.
STATE = "state"
_FIRST = "0" * 64
_sync = getattr(os, "fdatasync", os.fsync)


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A tensor in an answer.

    Attributes:
      name: as in the privacy manifest.
      shape: of it.
      bytes: of its numbers.
    """

    name: str
    shape: "tuple[int, ...]"
    bytes: int


@dataclasses.dataclass(frozen=True)
class Answer:
    """What an entry tells of.

    Attributes:
      what: one of `labels.LEAVES`, `TRAINING` or `STATE`.
      leaves: the tensors.
      message: the whole answer, of which the digest is kept.
      further: what else there is to tell, plain data.
    """

    what: str
    leaves: "tuple[Leaf, ...]" = ()
    message: bytes = b""
    further: "dict[str, Any]" = dataclasses.field(default_factory=dict)


class Ledger:
    """A ledger that is written to; one process at a time may have it open.

    Args:
      path: of the file, which is made where it is not there; a last line that a power cut tore is
        taken out, its answer never left.

    Attributes:
      entries: all there are, in order.

    Raises:
      PfrecError: where the file cannot be read or written, or its chain is broken.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path, self._lock = path, threading.Lock()
        with files.readable_errors(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(descriptor, "a+b", buffering=0)
            self._file.seek(0)
            content = self._file.read()
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                os.ftruncate(descriptor, len(whole))
            files.sync(path.parent)
        self.entries, self._last = _entries(whole, path)

    def append(
        self,
        what: str,
        agreement: str,
        leaves: "Iterable[Leaf]" = (),
        message: bytes = b"",
        **further: Any,
    ) -> "dict[str, Any]":
        """Adds an entry and waits until it is on the disk; see `append_all`."""
        (entry,) = self.append_all(agreement, [Answer(what, tuple(leaves), message, further)])
        return entry

    def append_all(self, agreement: str, answers: "Iterable[Answer]") -> "list[dict[str, Any]]":
        """Adds entries and waits until they are on the disk, all at once.

        Args:
          agreement: the digest of the agreement under which they leave.
          answers: what leaves.

        Raises:
          PfrecError: where they cannot be written; then nothing may leave.
        """
        with self._lock:
            entries: list[dict[str, Any]] = []
            lines: list[bytes] = []
            last = self._last
            for answer in answers:
                entry: dict[str, Any] = {
                    "number": len(self.entries) + len(entries),
                    "before": last,
                    "time": datetime.datetime.now(datetime.timezone.utc).isoformat(
                        timespec="seconds"
                    ),
                    "what": answer.what,
                    "agreement": agreement,
                    "leaves": [[leaf.name, list(leaf.shape), leaf.bytes] for leaf in answer.leaves],
                    "message_bytes": len(answer.message),
                    "sha256": hashlib.sha256(answer.message).hexdigest(),
                    **answer.further,
                }
                entries.append(entry)
                lines.append(_line(entry))
                last = hashlib.sha256(lines[-1]).hexdigest()
            with files.readable_errors(self._path):
                size = os.fstat(self._file.fileno()).st_size
                try:
                    content = b"".join(lines)
                    while content:  # A disk that is nearly full takes a part, without an error.
                        content = content[self._file.write(content) :]
                    # The lines and the file's length, without which they are not read.
                    _sync(self._file.fileno())
                except OSError:
                    os.ftruncate(
                        self._file.fileno(), size
                    )  # Half a line would break the chain for those after it.
                    raise
            self.entries += entries
            self._last = last
        return entries

    def close(self) -> None:
        """No more entries."""
        self._file.close()


def read(path: pathlib.Path) -> "tuple[list[dict[str, Any]], str]":
    """The entries of a ledger whose chain is whole, and the hash of its last line.

    Raises:
      PfrecError: where there is none, or the chain is broken; the message names the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise errors.PfrecError(
            f"{path}: {error.strerror or error}; pfrec-worker --agreement writes it"
        ) from error
    if content and not content.endswith(b"\n"):
        raise errors.PfrecError(
            f"{path}: its last line is torn; the next pfrec-worker takes it out, as the answer "
            "that it tells of never left"
        )
    return _entries(content, path)


def _entries(content: bytes, path: pathlib.Path) -> "tuple[list[dict[str, Any]], str]":
    entries: list[dict[str, Any]] = []
    last = _FIRST
    for number, line in enumerate(content.splitlines(keepends=True)):
        try:
            entry = files.parse_json(line)
            fits = (
                isinstance(entry, dict)
                and entry["before"] == last
                and entry["number"] == number
                and line == _line(entry)
            )
            fits = fits and all(
                name in entry
                for name in ("what", "agreement", "leaves", "message_bytes", "sha256", "time")
            )
        except (ValueError, KeyError):
            fits = False
        if not fits:
            raise errors.PfrecError(
                f"{path}: line {number + 1} does not follow from the lines before it: the ledger "
                "was changed or damaged there or "
                "just before; keep it as it is, and start a new one by moving it away"
            )
        entries.append(entry)
        last = hashlib.sha256(line).hexdigest()
    return entries, last


def _line(entry: "Mapping[str, Any]") -> bytes:
    return (
        json.dumps(entry, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    )


def differences(
    entries: "Sequence[Mapping[str, Any]]",
    manifest: "Mapping[str, Any]",
    agreement: Optional[str] = None,
) -> "list[str]":
    """Where what left a silo differs from what a driver's privacy manifest says leaves it;
    empty where it does not.

    Args:
      entries: of the ledger.
      manifest: the content of privacy_manifest.json.
      agreement: the digest of the agreement whose entries count; None for the last one's.
    """
    if agreement is None:
        agreement = entries[-1]["agreement"] if entries else ""
    told = {
        item["what"]: [list(item["shape"]), item["bytes"]]
        for item in (*manifest["uploads"], *manifest["uploads_once"])
    }
    found: list[str] = []
    for entry in entries:
        if entry["agreement"] != agreement or entry["what"] not in (
            labels.REPORT,
            labels.COUNTS,
            labels.METRICS,
            labels.SPREADS_METRICS,
        ):
            continue
        sent = {name: [list(shape), size] for name, shape, size in entry["leaves"]}
        for name, (shape, size) in sorted(sent.items()):
            if name not in told:
                found.append(
                    f"entry {entry['number']}: {name} left, and the manifest does not name it"
                )
            elif told[name] != [shape, size]:
                found.append(
                    f"entry {entry['number']}: {name} left with shape {shape} and {size} bytes, "
                    f"the manifest says {told[name][0]} and "
                    f"{told[name][1]}"
                )
    return found
