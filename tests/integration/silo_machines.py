"""Silos on one machine: each has an address of its own in 127.0.0.0/8,
and its own directory, worker and certificate.
"""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Optional

import numpy as np
import portpicker
import pytest

from pfrec import files, run_data
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline
from tests.integration import commands, preloaded
from tff_process import plan as plan_lib
from tff_process.commands import certificates
from tff_process.runtime import sandbox
from tff_process.silos import directory as silo_directory
from tff_process.training import loop

HAS_TUNNEL = bool(shutil.which("openssl") and (shutil.which("stunnel4") or shutil.which("stunnel")))
# Where they are not permitted, the workers' own ports are open on this machine during the tests.
HAS_NAMESPACES = not subprocess.run(
    [
        sys.executable,
        "-c",
        "from tff_process.runtime import private_network; private_network.enter()",
    ],
    cwd=commands.ROOT,
    stderr=subprocess.DEVNULL,
    check=False,
).returncode
HAS_SANDBOX = sandbox.permitted()
needs_tunnel = pytest.mark.skipif(
    not HAS_TUNNEL, reason="stunnel or openssl is not installed (Debian: stunnel4, openssl)"
)


@dataclasses.dataclass
class Silo:
    """A running `pfrec-worker`.

    Attributes:
      directory: the client directory.
      address: HOST:PORT.
      process: of the command.
      started_with: its arguments.
    """

    directory: pathlib.Path
    address: str
    process: preloaded.Child
    started_with: "tuple[object, ...]"

    def children(self, name: str) -> "list[int]":
        """The pids of its worker ("worker_binary") or its end of the tunnel ("stunnel")."""
        listed = (
            pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            .read_text()
            .split()
        )
        return [
            int(pid) for pid in listed if name in pathlib.Path(f"/proc/{pid}/cmdline").read_text()
        ]

    def end(self) -> str:
        """Ends it; what it said."""
        self.process.terminate()
        out, err = self.process.communicate(timeout=30)
        assert not err, err
        return out

    def start_again(self) -> None:
        """Starts it as before."""
        self.process = commands.start("pfrec-worker", *self.started_with)
        _wait(self.process)


def simulate(
    plan: plan_lib.Plan,
    data: dataset_lib.Dataset,
    output: pathlib.Path,
    agreed: bool = False,
    **settings: Any,
) -> loop.Outcome:
    """`loop.train` in a simulation in which rows have the order that they have in `directories`,
    with `agreed` under an agreement to the plan.
    """
    made = pipeline.simulated_secret

    def secret(seed: int, client: int) -> np.ndarray:
        own = made(0, client).tobytes()
        rows = run_data.keyed(data.digests[data.scenarios[client]], own)
        return np.frombuffer(
            silo_directory.secret_of_rows(own, rows, plan.to_json() if agreed else None), np.int64
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "simulated_secret", secret)
        return loop.train(plan, data, output, **settings)


def directories(data: dataset_lib.Dataset, parent: pathlib.Path) -> "dict[str, pathlib.Path]":
    """A client directory for each scenario, as if each silo had converted its own rows; they train
    as `simulate` does.
    """
    listing = json.loads((data.path / "dataset.json").read_text())
    made = {}
    for number, scenario in enumerate(data.scenarios):
        made[scenario] = parent / f"silo_{scenario}"
        target = made[scenario] / "data"
        target.mkdir(parents=True)
        secret = pipeline.simulated_secret(0, number)
        (made[scenario] / silo_directory.SECRET).write_bytes(secret.tobytes())
        shutil.copytree(data.path / scenario, target / scenario)
        own = {
            name: entry
            for name, entry in listing["files"].items()
            if name.startswith(f"{scenario}/")
        }
        value = {
            **listing,
            "scenarios": [scenario],
            "counts": {scenario: listing["counts"][scenario]},
            "files": own,
        }
        files.write_json(target / "dataset.json", value)
    return made


@contextlib.contextmanager
def running(
    of: "dict[str, pathlib.Path]",
    credentials: Optional[pathlib.Path],
    *arguments: object,
    agreements: "Optional[dict[str, pathlib.Path]]" = None,
) -> "Iterator[dict[str, Silo]]":
    """Silos that serve client directories, by scenario, on 127.0.0.2, 127.0.0.3, ...;
    all are ended afterwards.

    Args:
      of: the client directories.
      credentials: a directory that `pfrec-certificates` wrote; None for silos in plain.
      arguments: further ones for `pfrec-worker`.
      agreements: what silos agreed to; one without has no gatekeeper.
    """
    port = portpicker.pick_unused_port()
    silos = {}
    try:
        for number, (scenario, directory) in enumerate(of.items(), 2):
            tls = [f"--tls={credentials / f'silo-{scenario}'}"] if credentials else []
            host = f"127.0.0.{number}"
            own = [] if HAS_NAMESPACES else [f"--firewalled_port={portpicker.pick_unused_port()}"]
            agreement = (agreements or {}).get(scenario)
            own += [f"--agreement={agreement}"] if agreement else []
            started_with = (
                f"--client_dir={directory}",
                f"--host={host}",
                f"--port={port}",
                *tls,
                *own,
                *arguments,
            )
            process = commands.start("pfrec-worker", *started_with)
            silos[scenario] = Silo(directory, f"{host}:{port}", process, started_with)
        for silo in silos.values():
            _wait(silo.process)
        yield silos
        for silo in silos.values():
            assert silo.end().endswith("ended\n")
    finally:
        for silo in silos.values():
            silo.process.kill()
            silo.process.communicate()
    for directory in of.values():
        assert not commands.holding(directory)


def workers(silos: "dict[str, Silo]") -> str:
    """The value of `--workers`."""
    return ",".join(f"{scenario}={silo.address}" for scenario, silo in silos.items())


def made_certificates(parent: pathlib.Path, scenarios: "tuple[str, ...]") -> pathlib.Path:
    """Certificates for the driver and all silos."""
    certificates.make(parent / "certificates", scenarios)
    return parent / "certificates"


def _wait(process: preloaded.Child) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("serving "):
        raise AssertionError(line + process.communicate(timeout=10)[1])


def ended(pid: int) -> bool:
    """Whether a process ends within 10 s."""
    for _ in range(100):
        try:
            if pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False
