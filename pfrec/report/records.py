"""What a page reads of a run's or a comparison's JSON files, each entry of the type that belongs
there: one that is not is one error, and no page.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from pfrec import errors, files, json_fields

_MOST_ROUNDS = 1 << 31
# Of a difference of AUCs and its interval, which over two seeds is wide.
_LARGEST = 1e3
# Times rounds this is still far from what a float cannot hold.
_MOST_BYTES = 1e18


def opened(path: pathlib.Path, remedy: str) -> json_fields.Fields:
    """The entries of a file.

    Raises:
      PfrecError: where it is missing, damaged or holds no object.
    """
    return json_fields.Fields(files.read_json(path, remedy=remedy), str(path), remedy)


def counts(
    path: pathlib.Path, scenarios: Sequence[str], tasks: Sequence[str], remedy: str
) -> "Mapping[str, Any]":
    """Of counts.json: by scenario and split, rows and labels, in all scenarios of the same splits.

    Raises:
      PfrecError: where it is not that.
    """
    told = opened(path, remedy)
    counted = set()
    for scenario in scenarios:
        own, shape = told.fields(scenario), set()
        for split in own.names():
            part = own.fields(split)
            part.number("rows", 0.0)
            labels = [name for name in ("observed", "positives") if name in part]
            for name in labels:
                for task in tasks:
                    part.fields(name).number(task, 0.0)
            shape.add((split, *labels))
        counted.add(frozenset(shape))
    if len(counted) != 1 or any(len(part) == 2 for shape in counted for part in shape):
        raise errors.PfrecError(f"{path}: what is counted differs from place to place; {remedy}")
    return told.value


def of_round(path: pathlib.Path, remedy: str) -> "Mapping[str, Any]":
    """Of diagnostics/round_NNNNN.json.

    Raises:
      PfrecError: where an entry is of another kind than its name says.
    """
    told = opened(path, remedy)
    for name in told.names():
        kind = name.partition("/")[0]
        if kind in ("gram", "attention"):
            rows = told.matrix(name)
            if rows and len(rows) != len(rows[0]):
                raise errors.PfrecError(f"{path}: {name} is not square; {remedy}")
        elif kind in ("conflict_share", "spread"):
            told.number(name)
        elif kind in ("own_weight", "consensus_distance", "template_distance"):
            told.numbers(name)
        elif kind in ("refused", "skipped"):
            for scenario in told.fields(name).names():
                told.fields(name).text(scenario)
        elif kind == "clipped":
            for scenario in told.fields(name).names():
                told.fields(name).number(scenario)
        elif kind == "applied":
            told.flag(name)
    return told.value


def calibration(path: pathlib.Path, remedy: str) -> "Mapping[str, Any]":
    """Of diagnostics/calibration.json.

    Raises:
      PfrecError: where it is damaged.
    """
    told = _computed(path, remedy)
    for tasks in _fields(told.fields("scenarios")):
        for task in tasks.names():
            for part in tasks.each(task):
                part.number("predicted", 0.0, 1.0)
                part.integer("positives", 0)
                part.integer("rows", 1)
    return told.value


def importance(path: pathlib.Path, remedy: str) -> "Mapping[str, Any]":
    """Of diagnostics/importance.json.

    Raises:
      PfrecError: where it is damaged.
    """
    told = _computed(path, remedy)
    told.integer("repeats", 1)
    told.texts("features")
    for tasks in _fields(told.fields("scenarios")):
        for features in _fields(tasks):
            for feature in features.names():
                if features.plain(feature) is not None:
                    features.fields(feature).number("mean")
    return told.value


def gate_use(path: pathlib.Path, remedy: str) -> "Mapping[str, Any]":
    """Of diagnostics/gate_use.json: by round, scenario and task the weight of each expert.

    Raises:
      PfrecError: where it is damaged.
    """
    told = opened(path, remedy)
    for scenarios in _fields(told):
        weights = {
            len(tasks.numbers(task)) for tasks in _fields(scenarios) for task in tasks.names()
        }
        if len(weights) != 1 or weights == {0}:
            raise errors.PfrecError(f"{path}: gates of different numbers of experts; {remedy}")
    return told.value


def results(path: pathlib.Path, remedy: str) -> "Mapping[str, Any]":
    """Of results.json.

    Raises:
      PfrecError: where it is damaged.
    """
    told = opened(path, remedy)
    for name in told.fields("entries").names():
        _entry(told.fields("entries").fields(name), f"{path}: {name}", remedy)
    if told.plain("subject") is not None:
        told.text("subject")
    if told.plain("target_valid_auc") is not None:
        told.number("target_valid_auc")
    if "data" in told:
        told.text("data")
    if "given_to_all" in told:
        told.fields("given_to_all")
    if "rows" in told:
        for scenario in told.fields("rows").names():
            told.fields("rows").number(scenario, 0.0)
    return told.value


def _entry(entry: json_fields.Fields, place: str, remedy: str) -> None:
    entry.text("algorithm")
    entry.fields("plan")
    entry.texts("leaves")
    entry.integers("seeds", 0, 1 << 63)
    entry.number("valid_auc", 0.0, 1.0, none=True)
    for name in ("mean", "deviation"):
        entry.fields("test_auc").number(name, 0.0, 1.0, none=True)
    for name in ("round_bytes", "rounds_to_target", "bytes_to_target"):
        if entry.plain(name) is not None:
            entry.number(name, 0.0, _MOST_BYTES)
    if entry.plain("subject_minus_it"):
        for name in ("mean", "half_width"):
            entry.fields("subject_minus_it").number(name, -_LARGEST, _LARGEST, none=True)
    if entry.plain("valid_by_round"):
        curve = entry.fields("valid_by_round")
        mean, deviation = curve.numbers("mean", 0.0, 1.0), curve.numbers("deviation", 0.0, 1.0)
        if len(mean) != len(deviation):
            raise errors.PfrecError(f"{place}: valid_by_round has lists of two lengths; {remedy}")
    for run in entry.texts("runs") if "runs" in entry else ():
        path = pathlib.PurePosixPath(run)
        if path.is_absolute() or ".." in path.parts or "\0" in run:
            raise errors.PfrecError(f"{place}: a run outside of the comparison; {remedy}")


def _computed(path: pathlib.Path, remedy: str) -> json_fields.Fields:
    told = opened(path, remedy)
    told.text("split")
    told.integer("round", 0, _MOST_ROUNDS)
    return told


def _fields(of: json_fields.Fields) -> "list[json_fields.Fields]":
    return [of.fields(name) for name in of.names()]
