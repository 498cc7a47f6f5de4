"""pfrec-predict: scores rows of CSV or Parquet files with a run's or with exported models.

pfrec-predict --run=run --input=new.csv --scenario_column=site --output=scores.parquet
pfrec-predict --serving=serving --input=logs/ --schema=shop.toml --columns=user_id --output=s.csv
pfrec-predict --client_dir=/srv/silo --input=new.csv --output=scores.csv
"""

import pathlib
import sys
import time
from typing import TYPE_CHECKING, Optional

from absl import flags

from pfrec import cells, command, errors, row_progress, text_table

if TYPE_CHECKING:
    from export.scoring import models as models_lib
    from export.scoring import raw_rows, score

_COMMON = (
    "run",
    "serving",
    "client_dir",
    "input",
    "output",
    "scenario_column",
    "scenario",
    "columns",
    "unknown_scenario",
    "on_bad_row",
)


def define_flags() -> None:
    """Declares the command's flags. In a function, so that commands with flags of the same name can
    be imported together.
    """
    flags.DEFINE_string("run", None, "A finished run, as pfrec-train wrote it.")
    flags.DEFINE_string("serving", None, "In place of --run: what pfrec-export wrote.")
    flags.DEFINE_string("client_dir", None, "In place of --run: one silo's own directory.")
    flags.DEFINE_string(
        "input",
        None,
        "A CSV or Parquet file, or a folder of them: the features, raw as they were converted.",
        required=True,
    )
    flags.DEFINE_string(
        "output", None, "The file to write, .csv or .parquet; must not exist.", required=True
    )
    flags.DEFINE_string("scenario_column", None, "The column that names each row's scenario.")
    flags.DEFINE_string("scenario", None, "In place of --scenario_column: of all rows.")
    flags.DEFINE_list("columns", [], "Columns of the input that go along into the output.")
    flags.DEFINE_enum(
        "unknown_scenario",
        "refuse",
        ["refuse", "mean"],
        "What to do with a row of a scenario without a model: stop with an error, or take the mean "
        "of what all models say of it.",
    )
    flags.DEFINE_enum(
        "on_bad_row",
        "stop",
        ["stop", "skip", "quarantine"],
        "What to do with a row that cannot be read: stop with an error, leave it out and count it, "
        "or also put it, with its number, into OUTPUT-quarantine.jsonl.",
    )
    flags.DEFINE_string(
        "schema",
        None,
        "The TOML schema of pfrec-convert: says the scenario's column, or that each file is a "
        "scenario, and how text is laid out.",
    )


def main() -> None:
    """Entry point of `pfrec-predict`."""
    define_flags()
    command.run(_main, common=_COMMON)


def _main(argv: "list[str]") -> None:
    del argv
    f = flags.FLAGS
    given = [name for name in ("run", "serving", "client_dir") if f[name].value]
    if len(given) != 1:
        raise errors.PfrecError("give one of --run, --serving and --client_dir")
    path, output = pathlib.Path(f[given[0]].value), pathlib.Path(f.output)
    if not path.is_dir():
        raise errors.PfrecError(f"{path}: no such directory; check --{given[0]}")
    if not pathlib.Path(f.input).exists():
        raise errors.PfrecError(f"{f.input}: no such file or folder; check --input")
    if f.scenario and f.scenario_column:
        raise errors.PfrecError("--scenario and --scenario_column: give one of them")
    from export.scoring import raw_rows, score, table

    table.require_new(output)
    inputs, notes = raw_rows.find(pathlib.Path(f.input))
    for note in notes:
        print(f"note: {note}", file=sys.stderr, flush=True)
    models = _models(given[0], path)
    wanted = _wanted(models)
    start = time.monotonic()
    with row_progress.RowProgress("scoring") as progress:
        totals = score.score(
            models,
            wanted,
            inputs,
            output,
            unknown_scenario=f.unknown_scenario,
            on_bad_row=f.on_bad_row,
            progress=progress.add,
        )
    seconds = max(time.monotonic() - start, 1e-9)
    for line in _table(totals):
        print(line)
    for note in (*_strange(totals, models), *_left_out(totals, f.on_bad_row, output)):
        print(f"note: {note}")
    rows = sum(totals.rows.values())
    print(f"wrote {output}: {rows:,} rows, {rows / seconds:,.0f} a second")


def _models(kind: str, path: pathlib.Path) -> "models_lib.Models":
    from export.scoring import models

    if kind == "run":
        return models.RunModels(path)
    if kind == "serving":
        return models.ServedModels(path)
    return models.ClientModels(path)


def _wanted(models: "models_lib.Models") -> "raw_rows.Wanted":
    """What is to be read, by the flags.

    Raises:
      PfrecError: where nothing says which scenario a row is of, or a column that goes along would
        stand where one of the output's own does.
    """
    from export.scoring import raw_rows, table
    from pfrec.data import names
    from pfrec.data.conversion import toml_schema
    from pfrec.data.reading import csv_layout

    f = flags.FLAGS
    described = None if f.schema is None else toml_schema.read(pathlib.Path(f.schema))
    column: Optional[str] = f.scenario_column
    scenario = None if f.scenario is None else names.meant(f.scenario, models.scenarios)
    if scenario is not None and scenario not in models.scenarios and f.unknown_scenario == "refuse":
        raise errors.PfrecError(
            f"--scenario={scenario}: there is no model of it; there are models of "
            f"{', '.join(models.scenarios)}; or pass --unknown_scenario=mean to take the mean of "
            "what all models say"
        )
    if column is None and scenario is None:
        column = None if described is None else described.scenario_column
        if column is None and len(models.scenarios) == 1:
            scenario = models.scenarios[0]
        elif described is None:
            raise errors.PfrecError(
                "which scenario is a row of? There are models of "
                f"{', '.join(models.scenarios)}; give --scenario_column, or --scenario for all "
                "rows, or --schema where each file is a scenario"
            )
    taken = {"scenario", *table.columns(models.schema)}.intersection(f.columns)
    if taken:
        raise errors.PfrecError(
            f"--columns={','.join(sorted(taken))}: the output has such a column of its own; leave "
            "it out, or call it otherwise in the input"
        )
    layout = csv_layout.OPEN if described is None else described.dialect
    aliases = {} if described is None else described.aliases
    return raw_rows.Wanted(models.schema, column, scenario, tuple(f.columns), layout, aliases)


def _strange(totals: "score.Totals", models: "models_lib.Models") -> "list[str]":
    """A line for each feature with truth values that are spelled as the model knows none, or with
    ids that were rounded.
    """
    from pfrec.data.conversion.columns import truth_words
    from pfrec.data.reading import column_text

    features = {feature.name: feature for feature in models.schema.categorical}
    return [
        *(truth_words.note(features[name], totals.strange[name]) for name in totals.strange),
        *(
            column_text.rounded_note(features[name].raw, rows)
            for name, rows in totals.rounded.items()
            if rows
        ),
    ]


def _left_out(totals: "score.Totals", on_bad_row: str, output: pathlib.Path) -> "list[str]":
    """Which rows have no scores, a line for each reason, and how to know them all."""
    from export.scoring import quarantine

    if not totals.bad:
        return []
    found = []
    for reason, count in sorted(totals.bad.items()):
        shown = [example for example in totals.examples if example["reason"] == reason]
        rows = ", ".join(f"{example['file']} row {example['row']}" for example in shown)
        more = f" and {count - len(shown):,} more" if count > len(shown) else ""
        found.append(f"bad rows left out, {reason}: {count:,} ({rows}{more})")
    where = (
        f"the numbers of all, from 0 in their file, are in {quarantine.place(output)}"
        if on_bad_row == "quarantine"
        else "rows count from 0 in their file; --on_bad_row=quarantine lists all left out"
    )
    return [*found, where]


def _table(totals: "score.Totals") -> "list[str]":
    """Rows and mean probabilities by scenario, as aligned text."""
    names = list(dict.fromkeys(name for sums in totals.sums.values() for name in sums))
    lines = [["scenario", "rows", *(f"mean {name}" for name in names)]]
    for scenario, count in sorted(totals.rows.items()):
        sums = totals.sums[scenario]
        means = [f"{sums[n] / count:.4f}" if n in sums else cells.NOT_SERVED for n in names]
        lines.append([scenario, f"{count:,}", *means])
    return text_table.aligned(lines, "l" + "r" * (len(names) + 1))


if __name__ == "__main__":
    main()
