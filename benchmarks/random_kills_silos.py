"""Kills the driver of a training over silos at random instants, and now and then a silo with it;
what `--resume` comes to must be what an undisturbed training came to.

python benchmarks/random_kills_silos.py --instants=20 --directory=/tmp/kills
python benchmarks/random_kills_silos.py --quick

Three silos run on this machine, without an agreement. See `random_kills`.
"""

import argparse
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from benchmarks import random_kills

_SCENARIOS = ("nl", "fr", "es")
_START_SECONDS = 120.0
# One in so many instants kills a silo too.
_SILO = 3


class Silos:
    """A running `pfrec-worker` for each scenario of a raw file."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory, self._ports = directory, dict(zip(_SCENARIOS, _free_ports()))
        for scenario in _SCENARIOS:
            data = directory / f"silo_{scenario}" / "data"
            given = ("--format=csv", f"--input={directory / 'raw.csv'}", f"--output={data}")
            more = (f"--schema={directory / 's.toml'}", f"--scenarios={scenario}")
            line = [sys.executable, "-m", "pfrec.commands.convert", *given, *more]
            random_kills.finish(line, f"convert-{scenario}", 300.0)
        self._running = {scenario: self._started(scenario) for scenario in _SCENARIOS}

    @property
    def workers(self) -> str:
        """The value of `--workers`."""
        return ",".join(f"{name}=127.0.0.1:{port}" for name, port in self._ports.items())

    def kill(self, scenario: str) -> None:
        """Ends a silo at once, and starts it again."""
        self._running[scenario].kill()
        self._running[scenario].wait()
        self._running[scenario] = self._started(scenario)

    def end(self) -> None:
        """Ends all."""
        for process in self._running.values():
            process.terminate()
            process.communicate()

    def _started(self, scenario: str) -> "subprocess.Popen[bytes]":
        where = f"--client_dir={self._directory / f'silo_{scenario}'}"
        line = [sys.executable, "-m", "tff_process.commands.worker", where]
        process = random_kills.start([*line, f"--port={self._ports[scenario]}"], f"silo-{scenario}")
        until = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._ports[scenario]), 1.0).close()
                return process
            except OSError:
                assert process.poll() is None, f"the silo of {scenario} did not start"
                assert time.monotonic() < until, f"the silo of {scenario} does not answer"
                time.sleep(0.1)


def _free_ports() -> "list[int]":
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in _SCENARIOS]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def run(directory: pathlib.Path, instants: int, rows: int, seed: int) -> int:
    """Kills at so many instants.

    Returns:
      how often the driver was killed before it had ended.

    Raises:
      AssertionError: where something was lost, differs or is left.
    """
    directory.mkdir(parents=True)
    random_kills.write_rows(directory, rows)
    silos, generator, killed = Silos(directory), random.Random(seed), 0

    def train(output: pathlib.Path, *more: str) -> "list[str]":
        line = [sys.executable, "-m", "tff_process.commands.train", f"--workers={silos.workers}"]
        return [*line, f"--output={output}", *random_kills.SMALL, *more]

    try:
        whole = directory / "whole"
        seconds = random_kills.finish(train(whole), "silos-whole", 600.0)
        expected = random_kills.result_of_run(whole)
        job = random_kills.Job(
            "silos", train, lambda output: train(output, "--resume"), random_kills.result_of_run
        )
        for instant in range(instants):
            output, mark = directory / f"run_{instant}", f"silos-{instant}"
            after = generator.random() * seconds
            number = generator.choice((signal.SIGKILL, signal.SIGTERM))
            ended = random_kills.kill(job, output, after, number, mark)
            lost = generator.choice(_SCENARIOS) if instant % _SILO == 0 else ""
            if lost:
                silos.kill(lost)
            random_kills.finish(job.go_on(output), f"{mark}-again", 60.0 + 5 * seconds)
            assert job.result(output) == expected, f"{output}: differs, killed after {after:.2f} s"
            killed += not ended
            how = "had ended" if ended else f"{number.name} after {after:.2f} s"
            told = f", and the silo of {lost}" if lost else ""
            print(f"{instant + 1}/{instants} {how}{told}, came to the same", flush=True)
    finally:
        silos.end()
    for scenario in _SCENARIOS:
        left = random_kills.left_running(f"silo-{scenario}")
        assert not left, f"left running of the silo of {scenario}: {left}"
    return killed


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--instants", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=pathlib.Path, default=pathlib.Path("/tmp/random_kills"))
    parser.add_argument("--quick", action="store_true", help="two instants")
    given = parser.parse_args()
    shutil.rmtree(given.directory, ignore_errors=True)
    instants = 2 if given.quick else given.instants
    print(f"killed {run(given.directory, instants, given.rows, given.seed)} times")
    shutil.rmtree(given.directory)


if __name__ == "__main__":
    main()
