"""Bytes between the driver and a silo per round, by what they are, against what
privacy_manifest.json declares.

    python benchmarks/wire_bytes.py [--quick]

Two silos on loopback, one of them behind a relay that records the plain side of its connection.
Between rounds the relay's count is read, so that what a run sends once (computations, first values)
is told from what every round costs. The last line is JSON: `up` and `down`, wire bytes of a round
over declared bytes. A state of the server is sent once, to evaluate and to train the next round
with.
"""

import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import portpicker

from benchmarks import resident_runs, wire_capture
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.runtime import options as options_lib
from tff_process.silos import training as silo_training
from tff_process.training import loop


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two experts and three rounds")
    arguments = parser.parse_args()
    rounds, experts = (3, 2) if arguments.quick else (6, 4)
    plan = plan_lib.Plan(
        "pf_msmtrec", rounds=rounds, batch_size=256, model=ModelConfig(experts=experts)
    )
    schema = resident_runs.schema(30, 16, 63)
    port = portpicker.pick_unused_port()
    workers, processes = {}, []
    with resident_runs.directory() as path, socket.create_server(("127.0.0.1", 0)) as listening:
        try:
            for number in range(2):
                # A scenario has the same name and rows in its own dataset as in one of all.
                directory = path / f"silo{number}"
                resident_runs.dataset(directory / "data", schema, 1, 2_560, first=number)
                workers[f"s{number:03d}"] = f"127.0.0.{number + 2}:{port}"
                command = [
                    sys.executable,
                    "-m",
                    "tff_process.commands.worker",
                    f"--client_dir={directory}",
                    f"--host=127.0.0.{number + 2}",
                ]
                processes.append(
                    subprocess.Popen(
                        [*command, f"--port={port}"], stdout=subprocess.PIPE, text=True
                    )
                )
            for process in processes:
                assert process.stdout is not None
                process.stdout.readline()
            recorder = wire_capture.Recorder(listening, "127.0.0.2", port)
            through = {**workers, "s000": "{}:{}".format(*listening.getsockname())}
            chosen = options_lib.Options(workers=through)
            passed: list[tuple[int, int]] = []

            def note(number: int, auc: float) -> None:
                out, back = (
                    sum(len(data) for (_, way), data in recorder.passed.items() if way == outward)
                    for outward in (True, False)
                )
                passed.append((out, back))

            loop.train(
                plan,
                silo_training.survey(chosen, path / "run"),
                path / "run",
                options=chosen,
                progress=note,
            )
            recorder.stop()
            manifest = json.loads(
                (path / "run" / "privacy_manifest.json").read_text(encoding="utf-8")
            )
            traffic = wire_capture.decode(recorder.passed)
        finally:
            for process in processes:
                process.terminate()
                process.communicate()
    report(passed, manifest, traffic)


def report(
    passed: "list[tuple[int, int]]", manifest: "dict[str, int]", traffic: wire_capture.Traffic
) -> None:
    """Prints the table and the line of JSON."""
    computations = sum(
        call.sizes[0]
        for call in traffic.calls
        if call.method == "CreateValue" and call.request.value.HasField("computation")
    )
    for way, counts in traffic.bytes_by_frame.items():
        print(
            f"{'to' if way == 'out' else 'from'} the silo, by frame: {dict(sorted(counts.items()))}"
        )
    print(
        f"computations, in all {computations} bytes; first round with everything sent once "
        f"{passed[0]}"
    )
    # From the second round on, so that nothing is in it that is sent once.
    later = len(passed) - 1
    down, up = ((passed[-1][i] - passed[0][i]) / later for i in (0, 1))
    times = manifest["aggregations_per_round"]
    declared_up, declared_down = (
        times * manifest["upload_bytes"],
        times * manifest["download_bytes"] + manifest["evaluation_download_bytes"],
    )
    print(
        f"a round: {up:.0f} bytes from the silo, {declared_up} declared; {down:.0f} to it, "
        f"{declared_down} declared"
    )
    print(
        json.dumps(
            {"down": round(down / declared_down, 3), "up": round(up / declared_up, 3)},
            sort_keys=True,
        )
    )


if __name__ == "__main__":
    main()
