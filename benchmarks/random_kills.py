"""Kills commands at random instants, goes on, and holds what comes out against undisturbed runs.

python benchmarks/random_kills.py --instants=200 --directory=/tmp/kills
python benchmarks/random_kills.py --quick

Each command (convert, train, compare, export, predict) first runs undisturbed, which also says how
long it takes. An instant kills one at a random part of that time, by SIGKILL or SIGTERM, looks
whether a process of it is left, and gives the command that goes on. Then what it came to must be,
byte for byte but for times, what the undisturbed run came to, and no temporary file may be left.
The whole is bounded: a command that hangs for five times as long as it takes is an error.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

_MARK = "PFREC_RANDOM_KILLS"
_ROOT = pathlib.Path(__file__).resolve().parents[1]
_ENDING_SECONDS = 20.0
# A model of few weights, for three rounds.
SMALL = (
    *("--embedding_dim=3", "--experts=2", "--expert_units=4", "--tower_units=3"),
    *("--numeric_dim=2", "--batch_size=50", "--rounds=3"),
)
_SCHEMA = """
[scenario]
column = "site"
[[categorical]]
name = "item"
encoding = "identity"
cardinality = 50
policy = "shared"
[[numerical]]
name = "price"
[[task]]
name = "click"
[split]
valid = 0.2
test = 0.2
"""


@dataclasses.dataclass(frozen=True)
class Job:
    """A command to kill.

    Attributes:
      name: of it.
      line, go_on: the command line that begins, and the one that goes on, for an output.
      result: what an output came to, comparable.
      prepare: makes what the output holds before.
    """

    name: str
    line: "Callable[[pathlib.Path], list[str]]"
    go_on: "Callable[[pathlib.Path], list[str]]"
    result: "Callable[[pathlib.Path], object]"
    prepare: "Callable[[pathlib.Path], None]" = lambda output: None


def jobs(directory: pathlib.Path) -> "list[Job]":
    """The commands, in an order in which each finds what it needs."""
    raw, schema, data, run = (directory / n for n in ("raw.csv", "s.toml", "data", "train_whole"))

    def module(name: str, *arguments: object) -> "list[str]":
        return [sys.executable, "-m", name, *map(str, arguments)]

    def convert(output: pathlib.Path, *more: str) -> "list[str]":
        given = ("--format=csv", f"--input={raw}", f"--schema={schema}", f"--output={output}")
        return module("pfrec.commands.convert", *given, *more)

    def train(output: pathlib.Path, *more: str) -> "list[str]":
        where = (f"--data={data}", f"--output={output}")
        return module("tff_process.commands.train", *where, *SMALL, *more)

    def compare(output: pathlib.Path) -> "list[str]":
        where = (f"--data={data}", f"--output={output}", "--algorithms=local,fedavg", "--seeds=1")
        return module("tff_process.commands.compare", *where, *SMALL)

    def export(output: pathlib.Path) -> "list[str]":
        return module("export.commands.export", f"--run={run}", f"--output={output}")

    def predict(output: pathlib.Path) -> "list[str]":
        where = (f"--run={run}", f"--input={raw}", f"--output={output / 'scores.csv'}")
        return module("export.commands.predict", *where, "--scenario_column=site")

    # What appears whole is there or not: nothing is left to do where it is.
    nothing = module("pfrec.commands.overview")

    def predict_again(output: pathlib.Path) -> "list[str]":
        return nothing if (output / "scores.csv").exists() else predict(output)

    def convert_again(output: pathlib.Path) -> "list[str]":
        return nothing if (output / "dataset.json").exists() else convert(output, "--resume")

    return [
        Job("convert", convert, convert_again, _files),
        Job("train", train, lambda output: train(output, "--resume"), result_of_run),
        Job("compare", compare, compare, _comparison),
        Job("export", export, export, _serving),
        Job("predict", predict, predict_again, _files, lambda output: output.mkdir()),
    ]


def _files(output: pathlib.Path) -> object:
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file()
    }


def _json(path: pathlib.Path, *without: str) -> object:
    return {k: v for k, v in json.loads(path.read_text()).items() if k not in without}


def result_of_run(output: pathlib.Path) -> object:
    """What a run came to, but for the time it took."""
    metrics = (output / "metrics.csv").read_bytes()
    return metrics, _json(output / "summary.json", "wall_seconds")


def _comparison(output: pathlib.Path) -> object:
    lines = (output / "results.csv").read_text().splitlines()
    return [line for line in lines if ",train_seconds," not in line], [
        result_of_run(run) for run in sorted((output / "runs").glob("*/seed_*"))
    ]


def _serving(output: pathlib.Path) -> object:
    """The highest version of each model, all of one number; a kill after the publication makes the
    one that goes on publish another.
    """
    found, numbers = {}, set()
    for model in sorted(path for path in output.iterdir() if path.is_dir()):
        versions = sorted(int(path.name) for path in model.iterdir() if path.name.isdecimal())
        numbers.add(tuple(versions))
        version = model / str(versions[-1])
        # TensorFlow writes a graph's nodes in no fixed order, so not its file.
        found[model.name] = (
            _json(version / "assets.extra" / "pfrec_manifest.json", "sha256", "files"),
            _files(version / "variables"),
        )
    assert len(numbers) == 1, f"models of different versions: {sorted(numbers)}"
    return found


def write_rows(directory: pathlib.Path, rows: int) -> None:
    """The raw file and its schema: three scenarios, a click that depends on the item."""
    generator = random.Random(0)
    lines = ["site,item,price,click"]
    for number in range(rows):
        item, price = generator.randrange(40), generator.gauss(0, 1)
        click = int(generator.random() < (0.7 if item < 15 else 0.25))
        lines.append(f"{('nl', 'fr', 'es')[number % 3]},{item},{price:.4f},{click}")
    (directory / "raw.csv").write_text("\n".join(lines) + "\n")
    (directory / "s.toml").write_text(_SCHEMA)


def start(line: "list[str]", mark: str) -> "subprocess.Popen[bytes]":
    """Starts a command whose processes, its children's too, can be told by a mark."""
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), _MARK: mark}
    return subprocess.Popen(
        line,
        cwd=_ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def left_running(mark: str) -> "list[int]":
    """The processes that carry a mark, once what ends has had its time to."""
    wanted, until = f"{_MARK}={mark}".encode(), time.monotonic() + _ENDING_SECONDS
    while True:
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                try:
                    environment = (entry / "environ").read_bytes().split(b"\0")
                except OSError:
                    continue  # It ended, or is a zombie that nobody has waited for yet.
                found += [int(entry.name)] * (wanted in environment)
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.05)


def finish(line: "list[str]", mark: str, seconds: float) -> float:
    """Runs a command to its end; the seconds it took.

    Raises:
      AssertionError: where it fails, hangs, or leaves a process.
    """
    started = time.monotonic()
    process = start(line, mark)
    try:
        _, error = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"hangs: {' '.join(line)}") from None
    assert process.returncode == 0, f"{' '.join(line)}: {error.decode()[-2000:]}"
    left = left_running(mark)
    assert not left, f"left running: {left}"
    return time.monotonic() - started


def kill(job: Job, output: pathlib.Path, after: float, number: signal.Signals, mark: str) -> bool:
    """Starts a job and kills it; whether it had ended by itself before.

    Raises:
      AssertionError: where a process is left.
    """
    job.prepare(output)
    process = start(job.line(output), mark)
    try:
        process.communicate(timeout=after)
        ended = True
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        process.communicate(timeout=120)
        ended = False
    left = left_running(mark)
    assert not left, f"{job.name}: left running after {number.name}: {left}"
    return ended


def run(
    directory: pathlib.Path,
    instants: int,
    rows: int,
    seed: int,
    only: "tuple[str, ...]" = (),
    say: "Callable[[str], None]" = print,
) -> "dict[str, int]":
    """Kills at so many instants, the commands in turn.

    Args:
      directory: to work in; new.
      instants: how many.
      rows: of the raw file.
      seed: of the instants.
      only: the commands; empty for all. Those that they need run undisturbed.
      say: is told each instant.

    Returns:
      How often each command was killed.

    Raises:
      AssertionError: where something was lost, differs or is left.
    """
    directory.mkdir(parents=True)
    write_rows(directory, rows)
    wanted, seconds = [], {}
    known = jobs(directory)
    last = max((n for n, job in enumerate(known) if job.name in only), default=len(known) - 1)
    for job in known[: last + 1]:
        if only and job.name not in (*only, "convert", "train"):
            continue
        whole = directory / ("data" if job.name == "convert" else f"{job.name}_whole")
        job.prepare(whole)
        seconds[job.name] = finish(job.line(whole), f"{job.name}-whole", 600.0)
        say(f"{job.name}: {seconds[job.name]:.1f} s undisturbed")
        if not only or job.name in only:
            wanted.append((job, job.result(whole)))
    generator, killed = random.Random(seed), dict.fromkeys((job.name for job, _ in wanted), 0)
    for instant in range(instants):
        job, expected = wanted[instant % len(wanted)]
        after = generator.random() * seconds[job.name]
        number = generator.choice((signal.SIGKILL, signal.SIGTERM))
        output, mark = directory / f"{job.name}_{instant}", f"{job.name}-{instant}"
        ended = kill(job, output, after, number, mark)
        finish(job.go_on(output), f"{mark}-again", 60.0 + 5 * seconds[job.name])
        assert job.result(output) == expected, f"{output}: differs, killed after {after:.2f} s"
        rest = [str(p) for p in directory.rglob(".tmp-*")]
        assert not rest, f"{output}: left {', '.join(rest)}, killed after {after:.2f} s"
        killed[job.name] += not ended
        how = "had ended" if ended else f"{number.name} after {after:.2f} s"
        say(f"{instant + 1}/{instants} {job.name}: {how}, came to the same")
        shutil.rmtree(output)
    return killed


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--instants", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", default="", help="between commas; all where not given")
    parser.add_argument("--directory", type=pathlib.Path, default=pathlib.Path("/tmp/random_kills"))
    parser.add_argument("--quick", action="store_true", help="five instants")
    given = parser.parse_args()
    only = tuple(name for name in given.commands.split(",") if name)
    shutil.rmtree(given.directory, ignore_errors=True)
    instants = 5 if given.quick else given.instants
    killed = run(given.directory, instants, given.rows, given.seed, only)
    print("killed:", ", ".join(f"{name} {count} times" for name, count in killed.items()))
    shutil.rmtree(given.directory)


if __name__ == "__main__":
    main()
