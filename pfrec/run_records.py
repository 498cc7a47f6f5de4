"""What a run says of itself in config.json and summary.json, read in one place by all who ask,
without TensorFlow: what is not of the type or in the range that belongs there is one error.
"""

import pathlib
import re
from collections.abc import Mapping
from typing import Any, Optional

from pfrec import errors, files, json_fields, names
from pfrec.data import schema as schema_lib
from pfrec.models.config import ModelConfig

CONFIG, SUMMARY, MANIFEST = "config.json", "summary.json", "privacy_manifest.json"
FORMAT_VERSION = 2
# Of a run: how it was executed last, as far as that goes on with it (`runtime.options`).
OPTIONS = "options"
WITHHELD = "withheld"  # of a summary: what the plan had clients not say, where there is any
# Of a summary: the most rounds that there would have been, of which `rounds` were trained.
PLANNED = "planned_rounds"
# Of a summary: by scenario, the fingerprint of the model that its client finished, where any did.
FINISHED = "finished"
_IDENTITY = re.compile(r"[0-9a-f]{16}")
_MOST_ROUNDS = 1 << 31
DAMAGED = "it is damaged or was edited: train again"


def read_config(run: pathlib.Path) -> "Mapping[str, Any]":
    """The content of a run's config.json; its plan is an object, and no more is known of it here.

    Raises:
      PfrecError: where there is no run, it is of another format version, or an entry is not what
        belongs there.
    """
    place = run / CONFIG
    value = files.read_json(place, remedy="name the directory that pfrec-train wrote as --output")
    found = value.get("format_version") if isinstance(value, dict) else None
    if found != FORMAT_VERSION:
        raise errors.PfrecError(
            f"{run}: run directory of format version {found!r}, this pfrec reads "
            f"{FORMAT_VERSION}; train again or use the pfrec that wrote it"
        )
    told = json_fields.Fields(value, str(place), DAMAGED)
    if not told.texts("scenarios"):
        raise errors.PfrecError(f"{place}: names no scenario; {DAMAGED}")
    for name in told.texts("scenarios"):
        names.require(name, place=str(place))
    told.text("algorithm")
    told.integer("seed", 0, 1 << 63)
    plan = told.fields("plan")
    plan.integer("rounds", 1, _MOST_ROUNDS)
    plan.text("algorithm")
    with json_fields.within(f"{place}: model", DAMAGED):
        ModelConfig.from_json(told.fields("model").value)
    schema_lib.Schema.from_json(told.fields("schema").value, place=str(place))
    if told.plain("data") is not None:
        told.text("data")
    elif "data" not in told:
        raise errors.PfrecError(f"{place}: has no data; {DAMAGED}")
    if "data_from_run" in told:
        told.text("data_from_run")
    if OPTIONS in told:
        told.fields(OPTIONS)
    if "data_digests" in told:
        digests = told.fields("data_digests")
        for name in digests.names():
            if digests.plain(name) is not None:
                digests.text(name)
    if "id" in told and not _IDENTITY.fullmatch(told.text("id")):
        raise errors.PfrecError(f"{place}: id is no run's; {DAMAGED}")
    return told.value


def measured(summary: "Mapping[str, Any]") -> bool:
    """Whether a finished run's metrics are known: not where its plan withholds them, and then no
    round was chosen by them either.
    """
    return "metrics" not in summary.get(WITHHELD, ())


def finished(summary: "Mapping[str, Any]") -> bool:
    """Whether the models of a finished run are those that clients made of what they received
    (`--home_epochs`), and its metrics on test theirs; under a budget nothing of that is told.
    """
    return bool(summary.get(FINISHED))


def most_rounds(manifest: "Mapping[str, Any]", plan: "Mapping[str, Any]") -> int:
    """How many rounds a run has at most, of which a budget of steps or rows may leave fewer than
    --rounds; a pooled run, and one of before, writes down no more than --rounds.

    Args:
      manifest: the run's privacy manifest; empty where it has none.
      plan: of its config.json.
    """
    return int(manifest.get("most_rounds", plan["rounds"]))


def ended_early(summary: "Mapping[str, Any]") -> str:
    """That a finished run has had fewer rounds than were planned, as where --patience or a callback
    ended it, as a clause; empty where it has had all.
    """
    trained = summary["rounds"]
    # A summary of an earlier pfrec has the planned ones alone, in the place of the trained.
    planned = summary.get(PLANNED, trained)
    return f"ended after {trained} of {planned} rounds" if trained < planned else ""


def counts_note(summary: "Mapping[str, Any]") -> str:
    """Why rows and positives of test differ from those of the dataset, as a sentence; empty where
    they do not: of rows that are pooled, and of counts below 100.
    """
    rows = [cell.get("rows") or 0 for tasks in summary["test"].values() for cell in tasks.values()]
    if str(summary.get("algorithm", "")).startswith("pooled_") or max(rows, default=0) < 100:
        return ""
    return (
        "Rows and positives are those that a scenario says: its positives and its negatives, each "
        "rounded down to two digits."
    )


def read_summary(run: pathlib.Path, remedy: str = "") -> "Mapping[str, Any]":
    """The content of a finished run's summary.json.

    Args:
      run: its directory.
      remedy: what to do where there is none, as a clause.

    Raises:
      PfrecError: where the run is not finished, or an entry is not what belongs there.
    """
    place = run / SUMMARY
    remedy = remedy or "the run is not finished, continue it with pfrec-train --resume"
    told = json_fields.Fields(files.read_json(place, remedy=remedy), str(place), DAMAGED)
    told.text("algorithm")
    told.integer("rounds", 1, _MOST_ROUNDS)
    if PLANNED in told:
        told.integer(PLANNED, 1, _MOST_ROUNDS)
    told.integer("best_round", 0, _MOST_ROUNDS)
    told.number("mean_auc", 0.0, 1.0, none=True)
    for name in ("nan", WITHHELD):
        if name in told:
            told.texts(name)
    if FINISHED in told:
        models = told.fields(FINISHED)
        for name in models.names():
            models.text(name)
    for name in ("fault", "unchanged_because"):
        if name in told:
            told.text(name)
    for name in ("wall_seconds", "changed_rounds"):
        if name in told:
            told.number(name, 0.0)
    test = told.fields("test")
    for scenario in test.names():
        check_metrics(test.fields(scenario))
    return told.value


def read_manifest(place: pathlib.Path, remedy: str) -> "Mapping[str, Any]":
    """The content of a privacy manifest.

    Args:
      place: of the file, which somebody else may have sent.
      remedy: what to do where it is missing or damaged, as a clause.

    Raises:
      PfrecError: where it is missing, or an entry is not what belongs there.
    """
    told = json_fields.Fields(files.read_json(place, remedy=remedy), str(place), remedy)
    for name in ("aggregations_per_round", "upload_bytes", "download_bytes"):
        told.integer(name)
    for name in ("upload_bytes_once", "evaluation_download_bytes", "most_rounds"):
        if name in told:
            told.integer(name)
    told.texts("never_leaves")
    lists = ["uploads", "uploads_once", "downloads", "kept_copies"]
    if "evaluation_downloads" in told:
        lists.append("evaluation_downloads")
    for name in lists:
        for item in told.each(name):
            item.text("what")
            item.integer("bytes")
            item.integers("shape")
            if name != "kept_copies":
                item.text("group")
            if "exactness" in item:
                item.text("exactness")
    for row in told.each("groups"):
        row.text("group")
        row.flag("leaves")
    return told.value


def check_metrics(tasks: json_fields.Fields) -> None:
    """Checks a scenario's metrics by task: numbers or nothing, and whether it serves the task.

    Raises:
      PfrecError: where they are something else.
    """
    for task in tasks.names():
        cell = tasks.fields(task)
        for name in cell.names():
            value: Optional[Any] = cell.plain(name)
            if not isinstance(value, bool):
                cell.number(name, 0.0, none=True)
