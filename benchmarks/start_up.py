"""Where the time goes until the first round of a small pfrec-train is done, by part.

    python benchmarks/start_up.py [--repeats=N] [--algorithm=NAME]

Four scenarios of 500 rows, two rounds, in fresh processes: once with no graphs kept, then `repeats`
times with those. For each part the median processor seconds of the driver and seconds by the clock;
at the end the processor seconds of the worker.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

PARTS = (
    "imports",
    "data",
    "initial values",
    "graphs",
    "until the worker is up",
    "first round",
    "first evaluation",
    "the rest",
)


def child(result: str, argv: "list[str]") -> None:
    """Runs the command and writes when each part ended: seconds and processor seconds since the
    process began.
    """
    ends: dict[str, tuple[float, float]] = {}
    began = float(os.environ["PFREC_START_UP_BEGAN"])

    def mark(part: str) -> None:
        ends.setdefault(part, (time.time() - began, time.process_time()))

    def after(owner: object, name: str, part: str) -> None:
        plain = getattr(owner, name)

        def marking(*arguments: object, **named: object) -> object:
            found = plain(*arguments, **named)
            mark(part)
            return found

        setattr(owner, name, marking)

    from tff_process.commands import train

    def open_data(*arguments: object) -> object:
        # What trains is imported before the data are opened.
        mark("imports")
        from tff_process.process import federation
        from tff_process.runtime import hosts, resident
        from tff_process.training import beginning, loop  # noqa: F401

        after(beginning, "open_run", "data")
        after(federation.Federation, "__init__", "initial values")
        after(resident.ResidentTraining, "__init__", "graphs")
        after(hosts.LocalHost, "up", "until the worker is up")
        after(resident.ResidentTraining, "train_round", "first round")
        after(resident.ResidentTraining, "evaluate", "first evaluation")
        return opened(*arguments)

    opened, train.open_data = train.open_data, open_data  # type: ignore[assignment]
    sys.argv = ["pfrec-train", *argv]
    try:
        train.main()
    finally:
        mark("the rest")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        pathlib.Path(result).write_text(json.dumps([ends, used.ru_utime + used.ru_stime]))


def measured(
    work: pathlib.Path, number: int, argv: "list[str]"
) -> "dict[str, tuple[float, float]]":
    """What each part took, (seconds, processor seconds), and "worker"."""
    result = work / "result.json"
    environment = {
        **os.environ,
        "PFREC_CACHE": str(work / "cache"),
        "PFREC_START_UP_BEGAN": repr(time.time()),
    }
    command = [
        sys.executable,
        __file__,
        f"--child={result}",
        *argv,
        f"--output={work / f'{number}'}",
    ]
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    ends, worker = json.loads(result.read_text())
    before, parts = (0.0, 0.0), {}
    for part in PARTS:
        now = ends[part]
        parts[part] = (now[0] - before[0], now[1] - before[1])
        before = now
    parts["worker"] = (0.0, worker)
    return parts


def main() -> None:
    if sys.argv[1:2] and sys.argv[1].startswith("--child="):
        sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
        child(sys.argv[1].partition("=")[2], sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--algorithm", default="pf_msmtrec")
    arguments = parser.parse_args()
    argv = ["--rounds=2", f"--algorithm={arguments.algorithm}"]
    with tempfile.TemporaryDirectory() as place:
        work = pathlib.Path(place)
        synthetic = ["--data=synthetic", "--synthetic_rows=500", *argv]
        first = measured(work, 0, synthetic)
        on_data = [f"--data={work / '0' / 'data'}", *argv]
        kept = [measured(work, n, on_data) for n in range(1, arguments.repeats + 1)]
    print(f"{'':<24}{'nothing kept':>18}{'graphs kept':>18}")
    print(f"{'':<24}" + f"{'s':>9}{'cpu s':>9}" * 2)
    total = [0.0] * 4
    for part in [*PARTS, "worker"]:
        told = [*first[part], *(statistics.median(k[part][i] for k in kept) for i in (0, 1))]
        if part in ("the rest", "worker"):
            until, total = total, [0.0] * 4
            if part == "the rest":
                shown = "".join(f"{value:>9.2f}" for value in until)
                print(f"{'(so far)':<24}{shown}")
        print(f"{part:<24}" + "".join(f"{value:>9.2f}" for value in told))
        total = [a + b for a, b in zip(total, told)]


if __name__ == "__main__":
    main()
