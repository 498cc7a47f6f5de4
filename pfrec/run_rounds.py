"""The rounds of a run on the disk: what the server and every client held after each, and how a
round becomes complete.

RUN/server/round_00007/     the server's state after round 7; its appearance makes the round
                            complete
RUN/clients/NL/             the private states of client NL, by how many aggregations there were
                            until then (`client_directory`); the server's part of a round names its

and beside them, while it trains, what `checkpoint.remove` leaves.
"""

import contextlib
import dataclasses
import pathlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from pfrec import checkpoint, client_directory, errors, files, json_fields, run_records

# Of a round's meta: by scenario, the fingerprint of the client's state that belongs to it.
_STATES = "states"
# What a run of an earlier pfrec calls a part of the server's state.
_FORMER_PARTS = {
    "template/": "consensus/",
    "extra/trained/template/": "extra/trained/consensus/",
}


@dataclasses.dataclass(frozen=True)
class RoundState:
    """All that is kept of a round.

    Attributes:
      server: the server's tensors, named `common/NAME`, `personal/NAME`, `consensus/NAME`,
        `extra/NAME`.
      clients: for each scenario, its private tensors by name; empty where the clients write their
        own.
      meta: plain data, as how often each client took part. `versions`, by scenario, is the round
        whose private state belongs to this one.
    """

    server: Mapping[str, np.ndarray]
    clients: Mapping[str, Mapping[str, np.ndarray]]
    meta: Mapping[str, Any]


class Rounds:
    """Writes, reads and removes the rounds of one run.

    Args:
      path: of the run's directory.
      scenarios: whose clients train.

    Attributes:
      path, scenarios: as given, in client order.
    """

    def __init__(self, path: pathlib.Path, scenarios: Iterable[str]) -> None:
        self.path, self.scenarios = path, tuple(scenarios)
        self._metas: dict[int, Mapping[str, Any]] = {}
        self._synced: set[pathlib.Path] = set()

    def _server(self, round_number: int) -> pathlib.Path:
        return self.path / "server" / f"round_{round_number:05d}"

    def _client(self, scenario: str, version: int) -> pathlib.Path:
        return self.client_path(scenario) / client_directory.version_name(version)

    def rounds(self) -> "list[int]":
        """Rounds that are complete, ascending."""
        found = [
            re.fullmatch(r"round_(\d+)", p.name) for p in (self.path / "server").glob("round_*")
        ]
        return sorted(int(match.group(1)) for match in found if match)

    def commit(self, round_number: int, state: RoundState) -> None:
        """Writes a round: the clients' states first, the server's last,
        whose appearance makes the round complete.

        Raises:
          PfrecError: where it cannot be written; the rounds before stay usable.
        """
        for scenario, values in state.clients.items():
            place = self._client(scenario, round_number)
            checkpoint.save(place, values, checkpoint.owner(scenario, place.name))
        meta = {"versions": dict.fromkeys(self.scenarios, round_number), **state.meta}
        places = {name: self._client(name, meta["versions"][name]) for name in self.scenarios}
        # Of silos' clients nothing is here.
        meta[_STATES] = {
            name: checkpoint.fingerprint(place) for name, place in places.items() if place.is_dir()
        }
        self._sync(places[name] for name in meta[_STATES])
        checkpoint.save(self._server(round_number), state.server, meta)
        self._metas[round_number] = meta

    def _sync(self, states: "Iterable[pathlib.Path]") -> None:
        """Makes clients' states survive a power cut before a round names them: their own
        computations write them by operations of TensorFlow, which sync nothing.
        """
        with files.readable_errors(self.path):
            above = set()
            for place in set(states) - self._synced:
                files.sync_tree(place)
                above |= {place.parent, place.parent.parent, self.path}
                self._synced.add(place)
            for directory in above:
                files.sync(directory)

    def load(self, round_number: int) -> RoundState:
        """Reads a complete round; a client's part of it only when it is looked up.

        Raises:
          PfrecError: where a part of it is missing or damaged.
        """
        server, meta = checkpoint.load(self._server(round_number))
        self._check_meta(round_number, meta)
        for scenario in meta.get(_STATES, {}):
            self._require_own(scenario, meta)
        self._metas[round_number] = meta
        named = {_present_name(name): value for name, value in server.items()}
        return RoundState(named, _ClientFiles(self, meta["versions"]), meta)

    def _check_meta(self, round_number: int, meta: Any) -> None:
        """Checks what a round says of itself, as far as this class reads it.

        Raises:
          PfrecError: where it is something else.
        """
        place = self._server(round_number)
        told = json_fields.Fields(meta, str(place), f"remove {place} to use the one before")
        versions = told.fields("versions")
        for scenario in self.scenarios:
            versions.integer(scenario)
        if _STATES in told:
            states = told.fields(_STATES)
            for scenario in states.names():
                states.text(scenario)
                versions.integer(scenario)
        for name in ("best_round", "changed_rounds"):
            if name in told:
                told.integer(name)

    def _require_own(self, scenario: str, meta: "Mapping[str, Any]") -> None:
        """Checks that a client's state is the one that belongs to a round, and not that of another
        run of the same scenario and version.

        Raises:
          PfrecError: where it is another, or missing.
        """
        place = self._client(scenario, meta["versions"][scenario])
        known = meta.get(_STATES, {}).get(scenario)
        if known is not None and checkpoint.fingerprint(place) != known:
            raise errors.PfrecError(
                f"{place}: is not the state that belongs to this run's round; put the run's own "
                "back, or remove it to use the one before"
            )

    def finished(self, round_number: int, scenarios: "Iterable[str]") -> "dict[str, str]":
        """Fingerprints of the models that clients finished from their values of a round, by
        scenario; safe on the disk from then on.

        Args:
          round_number: of the round.
          scenarios: whose clients did.

        Raises:
          PfrecError: where one of them is not there.
        """
        name = client_directory.finished_name(round_number)
        places = {scenario: self.client_path(scenario) / name for scenario in scenarios}
        self._sync(places.values())
        return {key: checkpoint.fingerprint(place) for key, place in places.items()}

    def remove_finished(self) -> None:
        """Removes what clients finished, before they do so anew."""
        # First: a run must not be taken for finished by models that may be gone.
        (self.path / run_records.SUMMARY).unlink(missing_ok=True)
        for scenario in self.scenarios:
            _remove_others(self.client_path(scenario), client_directory.FINISHED, set())

    def remove_leftovers(self) -> None:
        """Removes what a kill left half-written or spare; only for the one process that trains into
        the directory, before it does.
        """
        for parent in (
            self.path,
            self.path / "server",
            self.path / "diagnostics",
            *(self.client_path(s) for s in self.scenarios),
        ):
            for path in parent.glob(f"{files.TEMPORARY_PREFIX}*"):
                _remove(path)

    def remove_spares(self) -> None:
        """Removes what `checkpoint.remove` left, when nothing more is written. What cannot be
        removed goes when the run is next resumed: the training has ended as it has.
        """
        for parent in (self.path / "server", *(self.client_path(s) for s in self.scenarios)):
            with contextlib.suppress(OSError):
                (parent / checkpoint.SPARE).unlink(missing_ok=True)

    def client_path(self, scenario: str) -> pathlib.Path:
        """The client directory of a scenario in a simulation."""
        return self.path / "clients" / scenario

    def meta(self, round_number: int) -> Mapping[str, Any]:
        """The plain data of a complete round.

        Raises:
          PfrecError: where it is missing or damaged.
        """
        if round_number not in self._metas:
            meta = checkpoint.load_meta(self._server(round_number))
            self._check_meta(round_number, meta)
            self._metas[round_number] = meta
        return self._metas[round_number]

    def keep_only(self, rounds: Iterable[int]) -> None:
        """Removes all rounds but these; the server's part of a round goes first, so that no round
        is left incomplete but visible.
        """
        kept = set(rounds)
        versions = [self.meta(number)["versions"] for number in kept]
        _remove_others(self.path / "server", "round_", {f"round_{number:05d}" for number in kept})
        for scenario in self.scenarios:
            names = {client_directory.version_name(version[scenario]) for version in versions}
            _remove_others(self.client_path(scenario), "version_", names)
        self._metas = {number: meta for number, meta in self._metas.items() if number in kept}

    def private_state(self, scenario: str, versions: Mapping[str, int]) -> "dict[str, np.ndarray]":
        """A client's private state of a round, which must be its own and of that version.

        Args:
          scenario: the client's.
          versions: by scenario, the version that belongs to the round.

        Raises:
          PfrecError: where it is missing, damaged, or another's.
        """
        if scenario not in versions:
            raise errors.PfrecError(
                f"{self.path}: the round names no state of scenario {scenario}; train again"
            )
        place = self._client(scenario, versions[scenario])
        values, meta = checkpoint.load(place)
        # None: of a pfrec that did not say whose it is.
        if meta not in (None, checkpoint.owner(scenario, place.name)):
            raise errors.PfrecError(
                f"{place}: is the state of another client or version ({meta}); remove it to use "
                "the one before"
            )
        return values


class _ClientFiles(Mapping[str, Mapping[str, np.ndarray]]):
    """The private states of a round, each read when it is looked up:
    a runtime whose clients read their own never looks.
    """

    def __init__(self, run: Rounds, versions: Mapping[str, int]) -> None:
        self._run, self._versions = run, versions

    def __getitem__(self, scenario: str) -> Mapping[str, np.ndarray]:
        return self._run.private_state(scenario, self._versions)

    def __iter__(self) -> Iterator[str]:
        return iter(self._versions)

    def __len__(self) -> int:
        return len(self._versions)


def _present_name(name: str) -> str:
    """What a tensor of the server is called now."""
    for former, present in _FORMER_PARTS.items():
        if name.startswith(former):
            return present + name[len(former) :]
    return name


def _remove_others(parent: pathlib.Path, prefix: str, kept: "set[str]") -> None:
    for path in sorted(parent.glob(f"{prefix}*")):
        if path.name in kept:
            continue
        if path.is_dir():
            checkpoint.remove(path)
        else:
            path.unlink()


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
