"""pfrec-convert: turns raw files into a dataset directory.

pfrec-convert --format=aliexpress --input=raw --output=data
pfrec-convert --format=csv --input=log.csv --schema=log.toml --output=data
"""

import collections
import pathlib
import sys
import time
from typing import Optional

from absl import flags

from pfrec import command, errors, files

_SECONDS_BETWEEN_LINES = 10.0


def define_flags() -> None:
    """Declares the command's flags. In a function, so that commands with flags of the same name can be imported together."""
    flags.DEFINE_string("format", None, "Format of the raw data: aliexpress, csv or movielens.", required=True)
    flags.DEFINE_string("input", None, "The raw file or folder.", required=True)
    flags.DEFINE_string("output", None, "The dataset directory to write; must not exist or be empty.", required=True)
    flags.DEFINE_string("schema", None, "TOML schema of the columns (csv only).")
    flags.DEFINE_integer("split_seed", 0, "Seed of the hash that splits rows into train, valid and test.")
    flags.DEFINE_enum(
        "missing_numerical",
        "reject",
        ["reject", "impute"],
        "What to do with an empty, NaN or infinite number: reject the file, or put the column's default there.",
    )


def convert(
    source_format: str,
    input_path: pathlib.Path,
    output: pathlib.Path,
    *,
    schema_path: Optional[pathlib.Path] = None,
    split_seed: int = 0,
    missing_numerical: str = "reject",
) -> list[str]:
    """Converts raw data to a dataset directory, in memory that does not grow with the data.

    Args:
      source_format: a name in `pfrec.data.converters.FORMATS`.
      input_path: the raw file or folder.
      output: the dataset directory; must not exist or be empty.
      schema_path: TOML schema, for `csv`.
      split_seed: seed of the split.
      missing_numerical: `reject` or `impute`.

    Returns:
      Notes for the user, a line each.

    Raises:
      PfrecError: where the input does not fit or the output cannot be written; nothing is left behind then.
    """
    from pfrec.data import converters, encoding, splits, writer

    files.require_empty(output)
    raw = converters.open_source(source_format, input_path, schema_path)
    options = {"fractions": list(raw.fractions), "missing_numerical": missing_numerical}
    imputed: collections.Counter[str] = collections.Counter()
    with (
        writer.DatasetWriter(
            output, raw.schema, source_format=source_format, split_seed=split_seed, scenarios=raw.scenarios, options=options
        ) as dataset_writer,
        _Progress() as progress,
    ):
        for scenario, split, chunk in raw.chunks():
            rows, missing = encoding.encode(chunk, raw.schema, missing_numerical=missing_numerical)
            imputed.update(missing)
            if split is not None:
                dataset_writer.add(scenario, split, rows)
            else:
                places = splits.split_of(chunk.rows, split_seed, raw.fractions)
                for place, name in enumerate(splits.SPLITS):
                    dataset_writer.add(scenario, name, rows.take(places == place))
            progress.add(len(chunk))
    notes = [f"{column}: {count:,} missing values imputed" for column, count in sorted(imputed.items())]
    return [*raw.notes, *notes]


def table(path: pathlib.Path) -> str:
    """Rows and label rates per scenario and split of a dataset, as aligned text."""
    from pfrec.data import dataset, splits

    data = dataset.Dataset.open(path)
    tasks = [task.name for task in data.schema.tasks]
    lines = [["scenario", "split", "rows", *(f"{task} rate" for task in tasks)]]
    for scenario in data.scenarios:
        for split in splits.SPLITS:
            counts = data.counts[scenario][split]
            lines.append([scenario, split, f"{counts.rows:,}", *(f"{counts.rate(task):.4f}" for task in tasks)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths)))
        for line in lines
    )


class _Progress:
    """Rows read so far: a bar on a terminal, a line now and then where standard error is piped."""

    def __enter__(self) -> "_Progress":
        import tqdm

        self._rows = 0
        self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm.tqdm(unit=" rows", unit_scale=True, desc="converting", disable=not self._terminal)
        return self

    def add(self, rows: int) -> None:
        self._rows += rows
        self._bar.update(rows)
        if not self._terminal and time.monotonic() >= self._next_line:
            print(f"converting: {self._rows:,} rows", file=sys.stderr, flush=True)
            self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES

    def __exit__(self, *raised: object) -> None:
        self._bar.close()


def _main(argv: "list[str]") -> None:
    del argv
    values = flags.FLAGS
    input_path, output = pathlib.Path(values.input), pathlib.Path(values.output)
    if not input_path.exists():
        raise errors.PfrecError(f"{input_path}: no such file or folder; check --input")
    notes = convert(
        values.format,
        input_path,
        output,
        schema_path=None if values.schema is None else pathlib.Path(values.schema),
        split_seed=values.split_seed,
        missing_numerical=values.missing_numerical,
    )
    for note in notes:
        print(f"note: {note}")
    print(table(output))
    print(f"wrote {output}")


def main() -> None:
    """Entry point of `pfrec-convert`."""
    define_flags()
    command.run(_main)


if __name__ == "__main__":
    main()
