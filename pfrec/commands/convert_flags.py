"""The flags of `pfrec-convert`."""

from typing import Any

from absl import flags

from pfrec import command

# Those that `--help` shows.
COMMON = (
    "format",
    "input",
    "schema",
    "output",
    "infer_schema",
    "missing_numerical",
    "on_bad_row",
    "resume",
)
# What only a schema's inference reads, and what only a conversion does.
_INFERENCE = ("scenario", "group")
_CONVERSION = (
    *("append", "keep_rows", "unknown_ids", "on_repeated_rows", "split_seed", "missing_numerical"),
    *("on_bad_row", "resume", "sample_users", "scenarios", "min_rows", "min_count"),
)


def define() -> None:
    """Declares the command's flags.

    In a function, so that commands with flags of the same name can be imported together.
    """
    flags.DEFINE_string(
        "format",
        None,
        "Format of the raw data: ali_ccp, aliexpress, aliexpress_raw, csv, kuairand, movielens, "
        "parquet or tenrec.",
        required=True,
    )
    flags.DEFINE_string("input", None, "The raw file or folder.", required=True)
    flags.DEFINE_string(
        "output",
        None,
        "The dataset directory to write; must not exist or be empty. With --infer_schema, the "
        "TOML file.",
        required=True,
    )
    flags.DEFINE_string("schema", None, "TOML schema of the columns (csv and parquet only).")
    flags.DEFINE_string(
        "append",
        None,
        "A dataset whose further rows the input is: they are read by its schema and vocabularies, "
        "with its --split_seed and --missing_numerical where these are not given, and --output is "
        "a new dataset of both (csv, parquet). Where columns are called otherwise by now, --schema "
        "says so.",
    )
    flags.DEFINE_bool(
        "keep_rows",
        True,
        "With --append, whether --output holds the rows of before too; --nokeep_rows for the "
        "further ones alone.",
    )
    flags.DEFINE_enum(
        "unknown_ids",
        "unknown",
        ["unknown", "grow"],
        "With --append, what a value is that the dataset does not know: the unknown id, or a new "
        "id after the known ones.",
    )
    flags.DEFINE_enum(
        "on_repeated_rows",
        "stop",
        ["stop", "keep"],
        "With --append, what to do where the further rows are in the dataset already, as a month "
        "that is appended twice: stop with an error, or add them again and warn.",
    )
    flags.DEFINE_bool(
        "infer_schema",
        False,
        "Write a first TOML schema of csv or parquet files to --output, for a person to edit.",
    )
    flags.DEFINE_integer(
        "split_seed",
        0,
        "Seed of the hash that splits rows into train, valid and test, and of the sampling "
        "of users.",
    )
    flags.DEFINE_enum(
        "missing_numerical",
        "reject",
        ["reject", "impute"],
        "What to do with an empty, NaN or infinite number: take the row for a bad one, or put the "
        "column's default there, and where it has none the client's mean.",
    )
    flags.DEFINE_enum(
        "on_bad_row",
        "stop",
        ["stop", "skip", "quarantine"],
        "What to do with a row that does not fit: stop with an error, leave it out and count it, "
        "or also keep it in quarantine.jsonl.",
    )
    flags.DEFINE_bool(
        "resume", False, "Go on with the conversion into --output that was killed or interrupted."
    )
    flags.DEFINE_float(
        "sample_users",
        1.0,
        "Part of users whose rows are kept, chosen by --split_seed (tenrec, kuairand).",
        0.0,
        1.0,
    )
    flags.DEFINE_list(
        "scenarios", [], "Scenarios to keep, by value or name; empty for the format's own choice."
    )
    flags.DEFINE_integer("min_rows", 0, "Scenarios with fewer rows are left out.", lower_bound=0)
    flags.DEFINE_list(
        "tasks",
        [],
        "Tasks to keep; empty for the format's own choice (tenrec, kuairand). With --infer_schema, "
        "the label columns.",
    )
    flags.DEFINE_string("scenario", None, "With --infer_schema, the scenario's column.")
    flags.DEFINE_string("group", None, "With --infer_schema, the column that groups rows.")
    flags.DEFINE_string(
        "delimiter", None, "What stands between values, \\t for a tab; goes over the schema (csv)."
    )
    flags.DEFINE_string("encoding", None, "Of the text, as gbk; goes over the schema (csv).")
    flags.DEFINE_list("columns", [], "The columns of files without a header line (csv).")
    flags.DEFINE_integer(
        "min_count",
        None,
        "Ids rarer than this among training rows share one id (ali_ccp).",
        lower_bound=1,
    )


def given(name: str) -> Any:
    """A flag's value; None where the command line does not say it."""
    return flags.FLAGS[name].value if _given(name) else None


def require_useful() -> None:
    """Checks that no flag is given that would do nothing.

    Raises:
      PfrecError: where one is; it names the flag.
    """
    if flags.FLAGS.infer_schema:
        command.refuse_idle(_CONVERSION, "is of a conversion, which --infer_schema is not")
    else:
        command.refuse_idle(
            _INFERENCE,
            "is of --infer_schema ([scenario] and group of the schema name columns of a "
            "conversion, --scenarios chooses scenarios)",
        )


def _given(name: str) -> bool:
    return bool(flags.FLAGS[name].present)


def layout() -> "dict[str, Any]":
    """What the flags say of the text."""
    values = flags.FLAGS
    said = {
        "delimiter": values.delimiter and values.delimiter.replace("\\t", "\t"),
        "encoding": values.encoding,
        "names": tuple(values.columns),
    }
    return {name: value for name, value in said.items() if value}
