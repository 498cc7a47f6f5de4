"""Converting generated AliExpress rows (user and item files, joined): rows per second and resident
memory, beside a plain pandas join.

python benchmarks/convert.py --rows=50000000 --directory=/tmp/convert
python benchmarks/convert.py --quick

Files of one country are generated in the published layout, unpacked; sizes of search pages and
values are random. The conversion runs as its own process, whose peak resident memory the kernel
tells. The reference reads a part of the same files with pandas, joins them and encodes ids, numbers
and labels to NumPy arrays in memory, in a process of its own too; it writes nothing. Both sides run
--repeats times in turn over that part (`vs_pandas` is the median of the ratios of rows per second);
the whole is converted once more where it is larger.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

ITEMS_PER_PAGE = 15
# Item columns that hold codes.
_ITEM_CODES = (19, 34, 35, 36, 40, 41, 42)
_TEMPLATES = 4096

_PANDAS = """
import sys, numpy as np, pandas as pd
folder = sys.argv[1]
codes = [f"user_{i}" for i in (*range(2, 9), 32, 33)]
codes += [f"item_{i}" for i in (19, 34, 35, 36, 40, 41, 42)]
joined = []
for split in ("train", "test"):
    names = [f"user_{i}" for i in range(1, 34)]
    users = pd.read_csv(f"{folder}/NL_user_{split}.csv", header=None, names=names)
    names = [f"item_{i}" for i in range(1, 50)]
    items = pd.read_csv(f"{folder}/NL_item_{split}.csv", header=None, names=names)
    joined.append(items.merge(users, left_on="item_1", right_on="user_1"))
    del users, items
frame = pd.concat(joined)
ids = np.stack([pd.factorize(frame[name], sort=True)[0] for name in codes], 1).astype(np.int32)
numbers = frame.drop(columns=[*codes, "user_1", "item_1", "item_49"]).to_numpy(np.float32)
labels = np.stack([frame["item_49"] >= 1, frame["item_49"] == 2], 1).astype(np.uint8)
print(len(ids))
"""


def generate(folder: pathlib.Path, rows: int, seed: int = 0) -> None:
    """Writes user and item files with `rows` item rows in all, 7 of 10 in train."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    users, items = (
        [_line(generator, kind) for _ in range(_TEMPLATES)] for kind in ("user", "item")
    )
    search = 0
    for split, count in (("train", rows * 7 // 10), ("test", rows - rows * 7 // 10)):
        with (
            open(folder / f"NL_user_{split}.csv", "w") as user_file,
            open(folder / f"NL_item_{split}.csv", "w") as item_file,
        ):
            left = count
            while left:
                sizes = generator.integers(1, 2 * ITEMS_PER_PAGE, 20_000)
                sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), left)) + 1]
                sizes[-1] -= max(0, int(sizes.sum()) - left)
                searches = search + np.cumsum(generator.integers(1, 9, len(sizes)))
                search = int(searches[-1])
                chosen = generator.integers(0, _TEMPLATES, len(sizes)).tolist()
                user_file.write(
                    "".join(f"{s},{users[c]}\n" for s, c in zip(searches.tolist(), chosen))
                )
                chosen = generator.integers(0, _TEMPLATES, int(sizes.sum())).tolist()
                repeated = np.repeat(searches, sizes).tolist()
                item_file.write("".join(f"{s},{items[c]}\n" for s, c in zip(repeated, chosen)))
                left -= int(sizes.sum())


def _line(generator: np.random.Generator, kind: str) -> str:
    """All values of a row but its search id."""
    if kind == "user":
        codes = {*range(2, 9), 32, 33}
        return ",".join(
            str(generator.integers(30)) if i in codes else f"{generator.random():.6f}"
            for i in range(2, 34)
        )
    values = [
        str(generator.integers(40)) if i in _ITEM_CODES else f"{generator.random() * 10:.5f}"
        for i in range(2, 49)
    ]
    return ",".join([*values, str(generator.choice([0, 1, 2], p=[0.96, 0.035, 0.005]))])


def measure(command: "list[str]") -> "tuple[float, float, float]":
    """Seconds, processor seconds and peak resident gigabytes of a command.

    Raises:
      SystemExit: where it fails.
    """
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command}: {said.decode()}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6


def convert(folder: pathlib.Path, output: pathlib.Path) -> "tuple[float, float, float]":
    """Of a conversion, what `measure` says."""
    shutil.rmtree(output, ignore_errors=True)
    program = [
        sys.executable,
        "-m",
        "pfrec.commands.convert",
        "--format=aliexpress_raw",
        f"--input={folder}",
        f"--output={output}",
    ]
    return measure(program)


def main() -> None:
    """Prints what was measured; the last line is JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, default=2_000_000, help="item rows to generate and convert"
    )
    parser.add_argument(
        "--pandas_rows", type=int, default=1_000_000, help="item rows that both sides are timed on"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--directory", type=pathlib.Path, help="where to put generated files; removed at the end"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    given = parser.parse_args()
    if given.quick:
        given.rows, given.pandas_rows, given.repeats = 60_000, 60_000, 1
    given.pandas_rows = min(given.rows, given.pandas_rows)
    if given.directory is not None:
        given.directory.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(dir=given.directory))
    try:
        part = folder / "part"
        generate(part, given.pandas_rows)
        ratios, seconds, peak = [], 0.0, 0.0
        for _ in range(given.repeats):
            plain, plain_processor, plain_peak = measure([sys.executable, "-c", _PANDAS, str(part)])
            seconds, processor, peak = convert(part, folder / "data")
            ratios.append(plain / seconds)
            print(
                f"{given.pandas_rows:,} rows: pandas {plain:.1f} s ({plain_processor:.1f} s of "
                f"processor), {plain_peak:.2f} GB; "
                f"pfrec {seconds:.1f} s ({processor:.1f} s of processor), {peak:.2f} GB",
                flush=True,
            )
        if given.rows > given.pandas_rows:
            shutil.rmtree(part)
            generate(folder / "whole", given.rows)
            size = sum(file.stat().st_size for file in (folder / "whole").iterdir())
            print(f"{given.rows:,} rows: {size / 1e9:.2f} GB of text", flush=True)
            seconds, processor, peak = convert(folder / "whole", folder / "data")
            print(
                f"{given.rows:,} rows: pfrec {seconds:.1f} s ({processor:.1f} s of processor), "
                f"{peak:.2f} GB",
                flush=True,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result = {
        "rows_per_second": given.rows / seconds,
        "peak_rss_gb": peak,
        "vs_pandas": statistics.median(ratios),
    }
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))


if __name__ == "__main__":
    main()
