"""pfrec-convert: turns raw files into a dataset directory.

pfrec-convert --format=aliexpress --input=raw --output=data
pfrec-convert --format=csv --input=log.csv --schema=log.toml --output=data
pfrec-convert --append=data --format=csv --input=next_day --output=data2
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

from absl import flags

from pfrec import command, errors, files, row_progress, text_table
from pfrec.commands import convert_flags

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from pfrec.data.conversion import appending
    from pfrec.data.reading import source


def convert(
    source_format: str,
    input_path: "Union[str, os.PathLike[str], pd.DataFrame, pa.Table]",
    output: "Union[str, os.PathLike[str]]",
    *,
    schema_path: "Union[str, os.PathLike[str], None]" = None,
    split_seed: Optional[int] = None,
    missing_numerical: Optional[str] = None,
    on_bad_row: str = "stop",
    resume: bool = False,
    sample_users: float = 1.0,
    scenarios: Sequence[str] = (),
    tasks: Sequence[str] = (),
    min_count: Optional[int] = None,
    min_rows: int = 0,
    layout: "Optional[Mapping[str, Any]]" = None,
    append: "Union[str, os.PathLike[str], None]" = None,
    keep_rows: bool = True,
    unknown_ids: str = "unknown",
    on_repeated_rows: str = "stop",
) -> list[str]:
    """Converts raw data to a dataset directory, in memory that does not grow with the data.

        >>> import pathlib
        >>> import pfrec
        >>> lines = ["site,item,price,click,buy"]
        >>> for n in range(1200):
        ...     click, site = n * n % 5 < 2, ("nl", "fr")[n % 2]
        ...     lines.append(f"{site},{n % 7},{n % 11},{click:d},{click and n % 3 == 0:d}")
        >>> written = pathlib.Path("log.csv").write_text("\\n".join(lines) + "\\n")
        >>> written = pathlib.Path("shop.toml").write_text('''
        ... [scenario]
        ... column = "site"
        ... [[categorical]]
        ... name = "item"
        ... cardinality = 7
        ... policy = "shared"
        ... [[numerical]]
        ... name = "price"
        ... [[task]]
        ... name = "click"
        ... [[task]]
        ... name = "buy"
        ... given = "click"
        ... ''')
        >>> pfrec.convert("csv", "log.csv", "data", schema_path="shop.toml")
        []

    Args:
      source_format: a name in `pfrec.data.converters.FORMATS`, or `table`.
      input_path: the raw file or folder; of `table` a pandas DataFrame, whose index is not read, or
        a `pyarrow.Table`.
      output: the dataset directory; must not exist or be empty.
      schema_path: TOML schema, for `csv`, `parquet` and `table`; with `append` None, or one of the
        same features and tasks.
      split_seed: seed of the split, and of the sampling of users; None for that of `append`, or 0.
      missing_numerical: `reject` or `impute`; None for that of `append`, or `reject`.
      on_bad_row: `stop`, `skip` or `quarantine`.
      resume: go on with a conversion that was killed.
      sample_users: part of users to keep, in (0, 1].
      scenarios: scenarios to keep; empty for the format's own choice.
      tasks: tasks to keep; empty for the format's own choice.
      min_count: how often an id must occur to get a place of its own.
      min_rows: scenarios with fewer rows are left out.
      layout: what goes over [file] of the schema, for `csv`: fields of a `csv_layout.Dialect`.
      append: the dataset whose further rows these are, for `csv` and `parquet`: they are read by
        its schema, vocabularies and statistics, from where `schema_path` says that values stand by
        now. It stays as it is.
      keep_rows: whether `output` holds the rows of `append` too.
      unknown_ids: `unknown` or `grow`: what a value is that `append` does not know.
      on_repeated_rows: `stop` where the rows are in `append` already, or `keep` to add them again.

    Returns:
      Notes for the user, a line each.

    Raises:
      PfrecError: where the input does not fit or the output cannot be written; nothing is left
        behind then.
    """
    from pfrec.data import converters
    from pfrec.data.conversion import options as options_lib
    from pfrec.data.conversion import run as conversion
    from pfrec.data.converters import table as table_lib
    from pfrec.data.reading import source

    target = pathlib.Path(output)
    _require_kind(source_format, input_path)
    _require_text(source_format, layout)
    files.require_empty(target)
    if not 0 < sample_users <= 1:
        raise errors.PfrecError(f"--sample_users={sample_users:g}: must be above 0 and at most 1")
    before = _appended_to(append, unknown_ids, keep_rows, on_repeated_rows)
    if split_seed is None:
        split_seed = 0 if before is None else before.data.split_seed
    if missing_numerical is None:
        missing_numerical = "reject" if before is None else before.missing_numerical
    settings = source.Settings(
        schema=None if schema_path is None else pathlib.Path(schema_path),
        seed=split_seed,
        sample_users=sample_users,
        scenarios=tuple(scenarios),
        tasks=tuple(tasks),
        min_count=min_count,
        layout=dict(layout or {}),
        before=before,
    )
    options = options_lib.Options(
        split_seed=split_seed,
        missing_numerical=missing_numerical,
        on_bad_row=on_bad_row,
        resume=resume,
        record=_record(settings, min_rows),
        scenarios=tuple(scenarios),
        min_rows=min_rows,
    )

    def open_source(scratch: pathlib.Path) -> source.Source:
        own = dataclasses.replace(settings, scratch=scratch)
        if isinstance(input_path, (str, os.PathLike)):
            return converters.open_source(source_format, pathlib.Path(input_path), own)
        return table_lib.open_source(input_path, own)

    with row_progress.RowProgress("converting") as progress:
        return conversion.run(open_source, source_format, target, options, progress.add, before)


def _require_kind(source_format: str, given: Any) -> None:
    """Checks that tables are read of tables, and other formats of paths."""
    from pfrec.data.converters import table as table_lib

    path = isinstance(given, (str, os.PathLike))
    if path == (source_format == table_lib.FORMAT):
        raise errors.PfrecError(
            f"convert: the format {source_format!r} takes "
            + ("a DataFrame or an Arrow table" if path else "a path; pass 'table' for tables")
        )


def _require_text(source_format: str, layout: "Optional[Mapping[str, Any]]") -> None:
    """Checks that text is what a layout is said of."""
    if layout and source_format != "csv":
        raise errors.PfrecError(
            f"--delimiter, --encoding, --columns: the {source_format} format does not know them; "
            "leave them out"
        )


def _appended_to(
    append: "Union[str, os.PathLike[str], None]",
    unknown_ids: str,
    keep_rows: bool,
    repeated: str,
) -> "Optional[appending.Before]":
    """The dataset whose further rows are converted, or None."""
    from pfrec.data.conversion import appending
    from pfrec.data.dataset import dataset

    if append is not None:
        data = dataset.Dataset.open(pathlib.Path(append))
        return appending.Before(data, unknown_ids, keep_rows, repeated)
    if not (keep_rows and unknown_ids == appending.UNKNOWN and repeated == appending.STOP):
        raise errors.PfrecError(
            "--keep_rows, --unknown_ids, --on_repeated_rows: go with --append alone; leave them out"
        )
    return None


def _record(settings: "source.Settings", min_rows: int) -> "dict[str, Any]":
    """What the rows depend on, where it is not as it is by default, for the record."""
    chosen: dict[str, Any] = {
        "sample_users": settings.sample_users,
        "scenarios": list(settings.scenarios),
        "tasks": list(settings.tasks),
        "min_count": settings.min_count,
        "min_rows": min_rows,
        "layout": dict(settings.layout),
    }
    defaults = {
        **{"sample_users": 1.0, "scenarios": [], "tasks": []},
        **{"min_count": None, "min_rows": 0, "layout": {}},
    }
    return {name: value for name, value in chosen.items() if value != defaults[name]}


def table(path: pathlib.Path) -> str:
    """Rows and label rates per scenario and split of a dataset, as aligned text."""
    from pfrec.data import splits
    from pfrec.data.dataset import dataset

    data = dataset.Dataset.open(path)
    tasks = [task.name for task in data.schema.tasks]
    lines = [["scenario", "split", "rows", *(f"{task} rate" for task in tasks)]]
    for scenario in data.scenarios:
        for split in splits.SPLITS:
            counts = data.counts[scenario][split]
            lines.append(
                [
                    scenario,
                    split,
                    f"{counts.rows:,}",
                    *(
                        f"{counts.rate(task):.4f}" if counts.observed[task] else "no labels"
                        for task in tasks
                    ),
                ]
            )
    return "\n".join(text_table.aligned(lines, "ll" + "r" * (len(tasks) + 1)))


def _dialect(layout: "Mapping[str, Any]") -> Any:
    from pfrec.data.reading import csv_layout

    return dataclasses.replace(csv_layout.OPEN, **layout)


def _main(argv: "list[str]") -> None:
    del argv
    values = flags.FLAGS
    input_path, output = pathlib.Path(values.input), pathlib.Path(values.output)
    if not input_path.exists():
        raise errors.PfrecError(f"{input_path}: no such file or folder; check --input")
    convert_flags.require_useful()
    schema_path = None if values.schema is None else pathlib.Path(values.schema)
    if values.infer_schema:
        from pfrec.data.inference import infer, roles

        if output.exists():
            raise errors.PfrecError(
                f"{output}: exists; choose another --output for the schema, or remove it"
            )
        _require_text(values.format, convert_flags.layout())
        hints = roles.Hints(
            values.tasks, values.scenario, values.group, _dialect(convert_flags.layout())
        )
        text = infer.infer(values.format, input_path, schema_path, hints)
        files.write_bytes(output, text.encode())
        print(
            f"wrote {output}: a first guess; read its comments and edit it, then pass it "
            "as --schema"
        )
        return
    notes = convert(
        values.format,
        input_path,
        output,
        schema_path=schema_path,
        split_seed=convert_flags.given("split_seed"),
        missing_numerical=convert_flags.given("missing_numerical"),
        on_bad_row=values.on_bad_row,
        resume=values.resume,
        sample_users=values.sample_users,
        scenarios=values.scenarios,
        tasks=values.tasks,
        min_count=values.min_count,
        min_rows=values.min_rows,
        layout=convert_flags.layout(),
        append=values.append,
        keep_rows=values.keep_rows,
        unknown_ids=values.unknown_ids,
        on_repeated_rows=values.on_repeated_rows,
    )
    for note in notes:
        print(f"note: {note}")
    print(table(output))
    print(f"wrote {output}")


def main() -> None:
    """Entry point of `pfrec-convert`."""
    convert_flags.define()
    command.run(_main, common=convert_flags.COMMON, go_on="--resume")


if __name__ == "__main__":
    main()
