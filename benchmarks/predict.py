"""Bulk scoring by pfrec-predict against the same model in `tf.saved_model.load`, 512 rows a batch.

    python benchmarks/predict.py [--quick] [--rows=1000000] [--pairs=1]

The model is an MMoE of the default shape with 10 hashed text features, 10 whole ids and 20 numbers,
its weights random, exported as pfrec-export does. Both sides read the same Parquet file and write
probabilities to another, each in a process of its own, `--pairs` times in turns; seconds and memory
are those of the whole process, start included.

The last line is JSON: `rows_per_second` and `peak_rss_gb` of pfrec-predict, `vs_saved_model` (its
time over the other's, so that below 1 is ahead), `processor_vs_saved_model` likewise of processor
seconds, and `largest_difference` of any probability.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
BATCH = 512


def make(folder: pathlib.Path, rows: int) -> None:
    """Writes a serving directory of one scenario, and rows for it."""
    import pyarrow as pa
    from pyarrow import parquet

    from export.exporting import build, trained
    from export.graph import requests
    from pfrec.data import schema as schema_lib
    from pfrec.data.dataset import row_block
    from pfrec.models.config import ModelConfig
    from pfrec.models.mmoe import mmoe

    schema = schema_lib.Schema(
        (
            *(schema_lib.Categorical(f"text{n}", 5000, encoding="hash") for n in range(10)),
            *(schema_lib.Categorical(f"id{n}", 100) for n in range(10)),
        ),
        tuple(schema_lib.Numerical(f"number{n}") for n in range(20)),
        (schema_lib.Task("ctr", "click"), schema_lib.Task("cvr", "buy", given="ctr")),
    )
    random = np.random.default_rng(0)
    sample = row_block.Rows(
        random.integers(0, 100, (256, 20)).astype(np.int32),
        random.standard_normal((256, 20)).astype(np.float32),
        np.zeros((256, 2), np.uint8),
    )
    network = mmoe.build(schema, ModelConfig(), 0)
    model = trained.TrainedModel("nl", network, schema, sample, {"id": "random", "round": 1})
    (folder / "serving" / "nl" / "1").mkdir(parents=True)
    build.write(model, "nl", folder / "serving" / "nl" / "1")
    writer = None
    for start in range(0, rows, 50_000):
        count = min(50_000, rows - start)
        columns = {f"text{n}": [f"value {v}" for v in random.integers(0, 90_000, count)]
                   for n in range(10)}  # fmt: skip
        ids = random.integers(0, 110, (10, count))
        numbers = random.standard_normal((20, count)).astype(np.float32)
        columns.update({f"id{n}": ids[n] for n in range(10)})
        columns.update({f"number{n}": numbers[n] for n in range(20)})
        table = pa.table(columns)
        writer = writer or parquet.ParquetWriter(folder / "rows.parquet", table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    assert set(requests.from_rows(sample, schema)) == set(table.schema.names)


def saved_model(folder: pathlib.Path) -> None:
    """The other side: what a notebook would do."""
    import pyarrow as pa
    import tensorflow as tf
    from pyarrow import parquet

    loaded = tf.saved_model.load(str(folder / "serving" / "nl" / "1"))
    serve = loaded.signatures["serving_default"]
    found: dict[str, list[np.ndarray]] = {"ctr": [], "cvr": []}
    for batch in parquet.ParquetFile(folder / "rows.parquet").iter_batches(BATCH):
        inputs = {
            name: tf.constant(column.to_pylist() if name[0] == "t" else column.to_numpy())
            for name, column in zip(batch.schema.names, batch.columns)
        }
        for task, values in serve(**inputs).items():
            found[task].append(values.numpy())
    table = pa.table({task: np.concatenate(values) for task, values in found.items()})
    parquet.write_table(table, folder / "saved_model.parquet")


def run(command: "list[str]") -> np.ndarray:
    """Seconds of a process, its processor seconds, and its peak memory in GB."""
    start = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    processor = usage.ru_utime + usage.ru_stime
    return np.array([time.monotonic() - start, processor, usage.ru_maxrss / 1e6])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20,000 rows")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        saved_model(pathlib.Path(given.side))
        return
    from pyarrow import parquet

    rows = 20_000 if given.quick else given.rows
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make(folder, rows)
        predict = [sys.executable, "-m", "export.commands.predict", f"--serving={folder}/serving"]
        predict += [f"--input={folder}/rows.parquet", f"--output={folder}/predict.parquet"]
        sides = []
        for _ in range(given.pairs):
            (folder / "predict.parquet").unlink(missing_ok=True)
            sides.append((run(predict), run([sys.executable, __file__, f"--side={folder}"])))
        (own, own_processor, memory), (other, other_processor, _) = np.mean(sides, axis=0)
        one = parquet.read_table(folder / "predict.parquet")
        two = parquet.read_table(folder / "saved_model.parquet")
        pairs = (("p_ctr", "ctr"), ("p_cvr_given_ctr", "cvr"))
        difference = max(
            float(np.abs(one.column(a).to_numpy() - two.column(b).to_numpy()).max())
            for a, b in pairs
        )
    told = {
        "rows_per_second": round(rows / own),
        "vs_saved_model": round(own / other, 3),
        "processor_vs_saved_model": round(own_processor / other_processor, 3),
        "peak_rss_gb": round(memory, 2),
        "largest_difference": difference,
    }
    print(f"{rows:,} rows: pfrec-predict {own:.1f} s, saved_model {other:.1f} s")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
