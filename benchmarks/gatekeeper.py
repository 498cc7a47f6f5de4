"""A round over silos with gatekeepers against one over silos without. `--quick` for a smoke run.

    python benchmarks/gatekeeper.py [--quick] [--only=small|paper]

Two silos on loopback with an agreement and two without, the same rows in both, each a
`pfrec-worker` of its own; rounds of the two are interleaved. The last line is JSON: `small` and
`paper` are the median over rounds of time with gatekeepers over time without in the pair of rounds
that ran one after the other, `small_processor` and `paper_processor` the same of the processor time
of all rounds, of the driver and of the silos with all their processes, `growth_mb` is how much more
memory a `pfrec-worker` with a gatekeeper has after all rounds than after the first, `peak_mb` how
much more it had at any time meanwhile, and `message_mb` a report, the largest message. All silos
have the threads within an operation that the plan asks for: one without an agreement, which does
not know the plan when it starts, would otherwise always have one.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import portpicker

import pfrec
from benchmarks import resident_runs
from pfrec import files, run_directory
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.runtime import options as options_lib
from tff_process.runtime import threads
from tff_process.silos import directory as silo_directory
from tff_process.silos import own_computations
from tff_process.silos import training as silo_training

SILOS = 2
PAPER = ModelConfig(embedding_dim=128, experts=8, expert_units=(512, 256), tower_units=(128, 64))


@contextlib.contextmanager
def running(
    path: pathlib.Path, directories: "list[pathlib.Path]", agreements: "list[pathlib.Path]"
) -> "Iterator[tuple[dict[str, str], list[int]]]":
    """Silos that serve directories: their addresses by scenario, and their processes' numbers."""
    processes, workers = [], {}
    try:
        for number, directory in enumerate(directories):
            port = portpicker.pick_unused_port()
            workers[f"s{number:03d}"] = f"127.0.0.1:{port}"
            own = [f"--agreement={agreements[number]}"] if agreements else []
            command = [sys.executable, "-m", "tff_process.commands.worker", f"--port={port}", *own]
            command.append(f"--client_dir={directory}")
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        for process in processes:
            assert process.stdout is not None
            said = process.stdout.readline()
            if not said.startswith("serving"):
                raise SystemExit(said)
        yield workers, [process.pid for process in processes]
    finally:
        for process in processes:
            process.terminate()
            process.communicate()


def memory(pid: int, what: str = "VmRSS") -> float:
    """Resident megabytes of a process, now or (`VmHWM`) at most since that was reset."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if what in line) / 1_000


def processor(pids: "list[int]") -> float:
    """Processor seconds of this process, and of others with their children, so far."""
    ticks, waiting = 0, list(pids)
    while waiting:
        place = pathlib.Path(f"/proc/{waiting.pop()}")
        fields = place.joinpath("stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
        for listed in place.glob("task/*/children"):
            waiting += [int(child) for child in listed.read_text(encoding="ascii").split()]
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def measure(name: str, quick: bool) -> "dict[str, float]":
    """What the last line says of a model."""
    repeats = 2 if quick else 15 if name == "small" else 8
    schema = resident_runs.schema(30, 16, 63, "shared")
    model, batch, rows = (
        (ModelConfig(), 256, 5_120 if quick else 40_960)
        if name == "small"
        else (PAPER, 2_048, 4_096 if quick else 81_920)
    )
    plan = plan_lib.Plan(
        "pf_msmtrec", rounds=1_000, aggregations=2 if quick else 4, batch_size=batch, model=model
    )
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads.within_operations(plan, schema))
    with resident_runs.directory() as path, contextlib.ExitStack() as stack:
        sides, message = [], 0.0
        pids: list[list[int]] = []
        for side in ("with", "without"):
            directories, agreements = [], []
            for number in range(SILOS):
                directory = path / f"{side}{number}"
                directory.mkdir(parents=True)
                resident_runs.dataset(directory / "data", schema, 1, rows, first=number)
                directories.append(directory)
                if side == "with":
                    facts = silo_directory.facts(directory)
                    own = own_computations.OwnComputations(plan.to_json(), facts, "plan")
                    agreed = own.agreement(own.bounds(1, 0), pfrec.__version__)
                    agreements.append(path / f"agreement{number}.json")
                    files.write_json(agreements[-1], agreed.to_json())
                    message = sum(item["bytes"] for item in agreed.leaves["report"]) / 1e6
            workers, made = stack.enter_context(running(path, directories, agreements))
            pids.append(made)
            options = options_lib.Options(workers=workers)
            run = run_directory.RunDirectory.create(path / f"run_{side}", {"scenarios": []})
            data = silo_training.survey(options, run.path)
            identity = silo_training.identity({}, run.path)
            training = silo_training.silo_training(plan, data, run, options, identity)
            sides.append(stack.enter_context(training))
        for side in sides:
            side.train_round(0)
        before = [memory(pid) for pid in pids[0]]
        for pid in pids[0]:
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
        times: list[list[float]] = [[], []]
        worked = [0.0, 0.0]
        for number in range(1, repeats + 1):
            # Which of the two begins alternates.
            for place in (0, 1) if number % 2 else (1, 0):
                work, start = processor(pids[place]), time.perf_counter()
                sides[place].train_round(number)
                times[place].append(time.perf_counter() - start)
                worked[place] += processor(pids[place]) - work
        growth = max(memory(pid) - first for pid, first in zip(pids[0], before))
        peak = max(memory(pid, "VmHWM") - first for pid, first in zip(pids[0], before))
    medians = [statistics.median(of) for of in times]
    print(
        f"{name}: round {medians[0]:.3f} s with, {medians[1]:.3f} s without; processor "
        f"{worked[0] / repeats:.3f} s with, {worked[1] / repeats:.3f} s without",
        flush=True,
    )
    return {
        name: round(statistics.median(a / b for a, b in zip(*times)), 3),
        f"{name}_processor": round(worked[0] / worked[1], 3),
        f"{name}_growth_mb": round(growth, 1),
        f"{name}_peak_mb": round(peak, 1),
        f"{name}_message_mb": round(message, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=["small", "paper"])
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else ["small", "paper"]
    result: dict[str, float] = {}
    for name in names:
        result.update(measure(name, arguments.quick))
    print(json.dumps(result, sort_keys=True))


if __name__ == "__main__":
    main()
