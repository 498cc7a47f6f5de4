"""Training over silos: each scenario's worker runs on a machine of its own,
where its data and private state stay.
"""

import contextlib
import hashlib
import logging
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow_federated as tff

from pfrec import client_directory, errors, files, run_directory
from pfrec.data.dataset import dataset as dataset_lib
from tff_process import plan as plan_lib
from tff_process.process import federation
from tff_process.runtime import clients as clients_lib
from tff_process.runtime import executor as executor_lib
from tff_process.runtime import guard, remote, resident, state_files
from tff_process.runtime import options as options_lib
from tff_process.silos import agreement, joint_dataset, tunnel
from tff_process.silos import continuing as silo_continuing
from tff_process.silos import directory as silo_directory
from tff_process.silos import facts as facts_lib
from tff_process.silos import host as silo_host

_log = logging.getLogger(__name__)
# A silo starts a process for it, which imports TensorFlow.
_CARRY_SECONDS, _PAUSE_SECONDS = 300.0, 0.5
# Of a training's name, as many as an int64 has room for.
_TRAINING_DIGITS = 15


def survey(options: options_lib.Options, beside: pathlib.Path) -> dataset_lib.Dataset:
    """What the silos say of themselves, as a dataset whose files are in the silos.

    Of its counts only the training rows, and which tasks have labels at all, are known here.

    Args:
      options: with the silos' addresses.
      beside: a path in whose parent temporary files may be.

    Raises:
      PfrecError: where a silo cannot be reached, serves another scenario, or has another schema
        than the others.
    """
    credentials = tunnel.to_silos(options.workers, options.tls)
    facts = []
    with silo_host.sockets(beside.parent) as sockets:
        logs = sockets.directory
        for scenario, host in _hosts(options, credentials, sockets, logs).items():
            try:
                host.up()
                found = facts_lib.read(host.remote, host.name)
            finally:
                host.down()
            if found.scenario != scenario:
                raise errors.PfrecError(
                    f"{host.name} serves scenario {found.scenario!r}; correct --workers"
                )
            facts.append(found)
    return joint_dataset.agreed(facts)


class SiloTraining(resident.ResidentTraining):
    """A training whose clients are in silos; see `ResidentTraining`.

    Args:
      identity: of the training, which names its directory in each silo.
    """

    def __init__(self, *arguments: Any, identity: str) -> None:
        self._read_secret = remote.Function.of("secret", state_files.secret_reader())
        super().__init__(*arguments)
        # The silos' schemas are equal, and each is a ceiling to what a plan may share.
        groups = self.algorithm.policy.table(self.tagged)
        agreement.check_ceiling(groups, self.dataset.schema, "--sharing")
        self._identity = identity
        self._write_received = remote.Function.of(
            "write_received",
            state_files.received_writer(self._traced.types.shared, self._traced.types.personal),
        )

    def _secret(self, client: int) -> "Callable[[remote.Remote], Any]":
        # The silo's own: it is read there, and the driver holds a reference that it never asks the
        # value of.
        return lambda there: there.call(
            self._read_secret, there.send(silo_directory.ROWS_SECRET, tff.TensorType(np.str_))
        )

    def _make_masks(self) -> None:
        """None here: the silos' gatekeepers put masks on."""

    @property
    def _training_number(self) -> int:
        return int(self._identity[:_TRAINING_DIGITS], 16)

    def after_round(self, versions: "Sequence[Mapping[str, int]]") -> None:
        """Tells each silo which of its versions are still needed; it removes the others itself.

        One that is away is told another time.
        """

        def tell(client: clients_lib.Client) -> None:
            content = silo_directory.kept([version[client.handle.scenario] for version in versions])
            try:
                self._calls.note(client, f"{client.directory}/{silo_directory.KEEP}", content)
            except remote.WorkError as error:
                _log.info(
                    "client %s could not be told what to keep: %s", client.handle.scenario, error
                )

        self._each(
            [i for i, client in enumerate(self.clients) if not client.handle.host.lost],
            tell,
            "the note of what to keep",
        )

    def begun(self) -> run_directory.RoundState:
        """The server's state before the first round; no silo writes anything."""
        return self._state()

    def first_values(self) -> "Mapping[str, np.ndarray]":
        """What a silo's private state begins with, but for the optimizer's slots."""
        return self._calls.first_values()

    def carry_over(self, before: str, newcomers: "Mapping[str, Mapping[str, np.ndarray]]") -> None:
        """Lets each silo make its own state of a finished training version 0 of this one, with the
        vocabularies and statistics that it alone knows.

        Args:
          before: names the finished training in its silos.
          newcomers: by scenario that it did not know, what that one begins with.

        Raises:
          PfrecError: where a silo does not in `_CARRY_SECONDS`; why not, its pfrec-worker says.
        """
        content = silo_continuing.note(before, self.plan.to_json())

        def carry(client: clients_lib.Client) -> None:
            scenario = client.handle.scenario
            if scenario in newcomers:
                self._calls.begin(client, newcomers[scenario])
                return
            self._calls.note(client, f"{client.directory}/{silo_directory.CONTINUE}", content)
            client.given = True
            deadline = time.monotonic() + _CARRY_SECONDS
            while True:
                try:
                    self._calls.load(client, 0)
                    return
                except remote.WorkError as error:
                    if error.lost or error.refused:
                        raise
                    if time.monotonic() > deadline:
                        # What it says of the note it would say again.
                        raise remote.WorkError(
                            f"the silo did not carry over its state of training {before} in "
                            f"{_CARRY_SECONDS:.0f} s; see what its pfrec-worker says",
                            lost=False,
                            refused=True,
                        ) from error
                time.sleep(_PAUSE_SECONDS)

        _, skipped = self._each(range(len(self.clients)), carry, "going on from a finished run")
        for reason in skipped.values():
            raise errors.PfrecError(reason)

    def finish(self, round_number: int, test: "Mapping[str, Any]") -> None:
        """Lets each silo write what its export needs besides its private state:
        its shared values, and what it is a model of.

        Args:
          round_number: of the state that is current.
          test: by scenario, its metrics by task.
        """

        def end(client: clients_lib.Client) -> None:
            shared = f"{client.directory}/{client_directory.shared_name(round_number)}"
            self._calls.write_received(client, self.server, self._write_received, shared)
            scenario = client.handle.scenario
            record = client_directory.ClientRecord(
                scenario,
                self.dataset.schema,
                self.plan.model,
                self.plan.seed,
                self._identity,
                round_number,
                client.version,
                test.get(scenario, {}),
                self.dataset.digests.get(scenario, ""),
            )
            # The last, so that what it names is there.
            self._calls.note(client, silo_directory.FINISHED, files.json_text(record.to_json()))

        self._each(range(len(self.clients)), end, "writing what its export needs")


@contextlib.contextmanager
def silo_training(
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    run: run_directory.RunDirectory,
    options: options_lib.Options,
    identity: str,
) -> Iterator[SiloTraining]:
    """Reaches the silos and makes the training; lets go of them in any case.

    Raises:
      PfrecError: where a silo cannot be reached or agreed to another plan, or a table would leave
        that the silos' schema calls private.
    """
    credentials = tunnel.to_silos(options.workers, options.tls)
    concurrent = options.max_concurrent_clients or len(dataset.scenarios)
    executor = executor_lib.ClientExecutor(
        concurrent, options.on_client_failure, all_needed=plan.secure_sums
    )
    logs = run.path / "logs"
    with silo_host.sockets(run.path) as sockets:
        asked = agreement.Asked.of(plan.to_json(), dataset.schema)
        silos = _hosts(options, credentials, sockets, logs, asked)
        with contextlib.ExitStack() as ending:
            ending.callback(executor.close)
            for host in silos.values():
                ending.callback(host.down)
            for host in silos.values():
                host.up()
                _require_room(host.name, host.remote, options.keep_rounds)
                if plan.secure_sums and host.remote.agreed is None:
                    raise errors.PfrecError(
                        f"--secure_sums: {host.name} has no agreement, and it is the gatekeeper of "
                        "one that puts masks on; start pfrec-worker there with --agreement"
                    )
            yield SiloTraining(
                plan,
                dataset,
                [silos[scenario] for scenario in dataset.scenarios],
                lambda scenario: f"{silo_directory.RUNS}/{identity}",
                executor,
                guard.Rules.of(options, dataset, federation.fitted(plan, dataset)),
                identity=identity,
            )


def _require_room(name: str, there: remote.Remote, keep_rounds: int) -> None:
    """Checks before the first round that a silo with an agreement keeps as many states as asked.

    Raises:
      PfrecError: where it would refuse some.
    """
    if there.agreed is not None and keep_rounds > silo_directory.MOST_KEPT:
        raise errors.PfrecError(
            f"--keep_rounds={keep_rounds}: under its agreement {name} has at most "
            f"{silo_directory.MOST_STATES} states of a training on its disk; keep at most "
            f"{silo_directory.MOST_KEPT} rounds"
        )


def identity(config: "Mapping[str, Any]", output: pathlib.Path) -> str:
    """What names a training in its silos: equal for one that is resumed."""
    return hashlib.sha256(f"{output.resolve()}\n{files.json_text(config)}".encode()).hexdigest()[
        :16
    ]


def _hosts(
    options: options_lib.Options,
    credentials: Optional[tunnel.Credentials],
    sockets: silo_host.Sockets,
    logs: pathlib.Path,
    asked: Optional[agreement.Asked] = None,
) -> "dict[str, silo_host.SiloHost]":
    return {
        scenario: silo_host.SiloHost(
            scenario,
            address,
            options.deadline,
            options.silo_timeout,
            credentials,
            sockets,
            logs / f"tunnel_{scenario}.log",
            asked,
        )
        for scenario, address in options.workers.items()
    }
