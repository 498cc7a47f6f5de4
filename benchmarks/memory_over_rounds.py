"""Resident memory of driver and worker after round 500 of a `pfrec-train` over that after round 50.

`--quick`: 60 over 20.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
from typing import Optional

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))


def rss(pid: int) -> Optional[int]:
    """Resident kilobytes of a process."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), None)


def children(pid: int) -> "list[int]":
    """The child processes of any thread of a process."""
    lists = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text(encoding="ascii").split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    first, last = (20, 60) if arguments.quick else (50, 500)
    from benchmarks import resident_runs

    found: dict[int, tuple[int, int]] = {}
    with resident_runs.directory() as path:
        resident_runs.dataset(path / "data", resident_runs.schema(30, 16, 63), 4, 2_560)
        command = [
            str(pathlib.Path(sys.executable).parent / "pfrec-train"),
            f"--data={path / 'data'}",
            f"--output={path / 'run'}",
            "--algorithm=pf_msmtrec",
            f"--rounds={last}",
        ]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ},
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("round "):
                    number = int(line.split()[1].split("/")[0])
                    if number in (first, last):
                        worker = sum(rss(child) or 0 for child in children(process.pid))
                        found[number] = rss(process.pid) or 0, worker
                        print(
                            f"round {number}: driver {found[number][0] / 1024:.0f} MB, worker "
                            f"{worker / 1024:.0f} MB",
                            flush=True,
                        )
    names = ("driver", "worker")
    print(
        json.dumps(
            {name: round(found[last][i] / found[first][i], 3) for i, name in enumerate(names)},
            sort_keys=True,
        )
    )


if __name__ == "__main__":
    main()
