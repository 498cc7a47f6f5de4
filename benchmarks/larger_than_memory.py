"""Training on more data than a process may hold:
`pfrec-train` under a limit of memory for each of its processes.

python benchmarks/larger_than_memory.py [--rows=16000000] [--limit_gb=2] [--quick]

Random rows in the AliExpress shape (382 bytes each) are written for one scenario; `pfrec-train`
then trains one round on them, its processes, the worker's included, limited by RLIMIT_DATA: the
kernel refuses them more memory of their own. The last line is JSON: `data_over_limit`, how many
times the limit the data is; `peak_over_limit`, the largest resident set of any of its processes
over the limit; `train_seconds`.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np

from benchmarks import resident_runs
from pfrec.data.dataset import row_block, writer

_CHUNK = 250_000


def write(path: pathlib.Path, rows: int) -> float:
    """Writes the dataset; returns its bytes."""
    schema = resident_runs.schema(30, 16, 63)
    rng = np.random.default_rng(0)
    with writer.DatasetWriter(path, schema, source_format="benchmark", split_seed=0) as target:
        for split, count in (("train", rows), ("valid", 20_000), ("test", 20_000)):
            for start in range(0, count, _CHUNK):
                size = min(_CHUNK, count - start)
                categorical = rng.integers(0, 30, (size, 16)).astype(np.int32)
                numerical = rng.standard_normal((size, 63), np.float32)
                labels = (rng.random((size, 2)) < 0.3).astype(np.uint8)
                target.add("one", split, row_block.Rows(categorical, numerical, labels))
    return sum(file.stat().st_size for file in path.rglob("*.tfrecord"))


class Peak(threading.Thread):
    """Watches the largest resident set that the kernel recorded of any process of a session."""

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self._session, self._done, self.bytes = session, threading.Event(), 0
        self.start()

    def run(self) -> None:
        while not self._done.wait(0.5):
            for place in pathlib.Path("/proc").glob("[0-9]*"):
                try:
                    own = os.getsid(int(place.name)) == self._session
                    lines = (place / "status").read_text().splitlines() if own else []
                except OSError:  # ended meanwhile
                    continue
                self.bytes = max(
                    [
                        self.bytes,
                        *(
                            1024 * int(line.split()[1])
                            for line in lines
                            if line.startswith("VmHWM")
                        ),
                    ]
                )

    def stop(self) -> None:
        self._done.set()
        self.join()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=16_000_000)
    parser.add_argument("--limit_gb", type=float, default=2.0)
    parser.add_argument("--batch_size", type=int, default=2048)
    parser.add_argument(
        "--quick", action="store_true", help="400,000 rows, less than the limit: a smoke run"
    )
    arguments = parser.parse_args()
    limit = int(arguments.limit_gb * 1e9)
    with resident_runs.directory() as path:
        size = write(path / "data", 400_000 if arguments.quick else arguments.rows)
        print(
            f"{size / 1e9:.2f} GB of rows; each process may have {limit / 1e9:.2f} GB", flush=True
        )
        command = [
            sys.executable,
            "-m",
            "tff_process.commands.train",
            f"--data={path / 'data'}",
            "--algorithm=pf_msmtrec",
            "--rounds=1",
        ]
        command += [f"--batch_size={arguments.batch_size}", f"--output={path / 'run'}"]
        start = time.monotonic()
        process = subprocess.Popen(
            command,
            start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
        )
        peak = Peak(process.pid)
        status = process.wait()
        peak.stop()
        if status:
            raise SystemExit(f"pfrec-train ended with {status}")
        result = {
            "data_over_limit": size / limit,
            "peak_over_limit": peak.bytes / limit,
            "train_seconds": time.monotonic() - start,
        }
        print(json.dumps({name: round(value, 3) for name, value in result.items()}, sort_keys=True))


if __name__ == "__main__":
    main()
