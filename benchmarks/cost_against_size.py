"""What a federated round costs against rows, clients, rows of a table, experts and tasks, one at a
time from a base of four clients with 10,000 rows of the default shape.

    python benchmarks/cost_against_size.py [--quick] [--axes=rows,clients,table,experts,tasks]
        [--smallest=N] [--largest=N] [--rows=N] [--algorithm=NAME]

A value is trained in a process of its own: two rounds of two aggregations, of which the second is
measured. Prints processor seconds of driver and worker together, of the driver alone, seconds by
the clock, and the most memory that each process had; then per axis the slope of the logarithms over
all its values: 1 where cost is in proportion to size. The last line is JSON.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np

BASE = {"rows": 10_000, "clients": 4, "table": 1_000, "experts": 4, "tasks": 2}
AXES = {
    "rows": (10_000, 30_000, 100_000, 300_000, 1_000_000),
    "clients": (4, 10, 30, 100, 500),
    "table": (1_000, 10_000, 100_000, 1_000_000, 10_000_000),
    "experts": (2, 4, 8, 16, 32),
    "tasks": (2, 4, 8, 16),
}
_MEASURED = ("processor_s", "driver_s", "wall_s", "driver_mb", "worker_mb")


def one(
    algorithm: str, rows: int, clients: int, table: int, experts: int, tasks: int
) -> "dict[str, float]":
    """A round at one size: `_MEASURED`."""
    from benchmarks import resident_runs
    from pfrec.data import schema as schema_lib
    from pfrec.models.config import ModelConfig
    from tff_process import plan as plan_lib

    plain = resident_runs.schema(30, 16, 63)
    # One table of a size, private as tables of users are; the others as ever.
    schema = schema_lib.Schema(
        categorical=(schema_lib.Categorical("large", table, "private"), *plain.categorical[1:]),
        numerical=plain.numerical,
        tasks=tuple(schema_lib.Task(f"task_{n}", f"label_{n}") for n in range(tasks)),
    )
    plan = plan_lib.Plan(
        algorithm,
        batch_size=256,
        model=ModelConfig(experts=experts),
        aggregations=2,
        aggregate_every=1 << 30,
    )
    with resident_runs.directory() as path:
        data = resident_runs.dataset(path / "data", schema, clients, rows)
        concurrent = min(clients, len(os.sched_getaffinity(0)))
        with resident_runs.training(plan, data, path / "clients", concurrent) as made:
            worker = made.clients[0].handle.host.pid
            made.train_round(0)
            resident_runs.forget_versions(path / "clients", made)
            begin, own, start = _processor(worker), time.process_time(), time.perf_counter()
            made.train_round(1)
            return {
                "processor_s": round(_processor(worker) - begin, 3),
                "driver_s": round(time.process_time() - own, 3),
                "wall_s": round(time.perf_counter() - start, 3),
                "driver_mb": _most_memory("self"),
                "worker_mb": _most_memory(worker),
            }


def _processor(worker: int) -> float:
    """Processor seconds of this process and the worker so far."""
    fields = pathlib.Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _most_memory(process: object) -> float:
    """The most resident megabytes that a process had."""
    lines = pathlib.Path(f"/proc/{process}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3)


def slope(sizes: "list[int]", costs: "list[float]") -> float:
    """Of the logarithm of the cost against that of the size, by least squares."""
    return round(float(np.polyfit(np.log(sizes), np.log(costs), 1)[0]), 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the two smallest values of each axis")
    parser.add_argument("--axes", default=",".join(AXES), help="which, with commas")
    parser.add_argument("--smallest", type=int, default=0, help="leave out smaller values")
    parser.add_argument("--largest", type=int, default=1 << 62, help="leave out larger values")
    parser.add_argument("--rows", type=int, default=BASE["rows"], help="of a client, as the base")
    parser.add_argument("--algorithm", default="fedavg", help="what is trained")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(**json.loads(arguments.one))))
        return
    result: dict[str, dict[str, object]] = {}
    print(f"{'axis':<9}{'value':>9}" + "".join(f"{name:>13}" for name in _MEASURED))
    for axis in arguments.axes.split(","):
        found: dict[int, dict[str, float]] = {}
        values = [value for value in AXES[axis] if arguments.smallest <= value <= arguments.largest]
        for value in values[: 2 if arguments.quick else None]:
            asked = json.dumps(
                {"algorithm": arguments.algorithm, **BASE, "rows": arguments.rows, axis: value}
            )
            done = subprocess.run(
                [sys.executable, __file__, f"--one={asked}"], stdout=subprocess.PIPE, check=True
            )
            found[value] = json.loads(done.stdout.splitlines()[-1])
            shown = "".join(f"{found[value][name]:>13}" for name in _MEASURED)
            print(f"{axis:<9}{value:>9}{shown}", flush=True)
        if len(found) < 2:
            continue
        slopes = {name: slope(list(found), [f[name] for f in found.values()]) for name in _MEASURED}
        print(f"{axis:<9}{'slope':>9}" + "".join(f"{slopes[name]:>13}" for name in _MEASURED))
        result[axis] = {"by_value": found, "slope": slopes}
    print(json.dumps(result, sort_keys=True))


if __name__ == "__main__":
    main()
