"""Bulk scoring: what the served model says of each row, in order, however a file is cut."""

import dataclasses
import json
import pathlib
import shutil
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from export.checks import answers
from export.commands import predict
from export.graph import requests
from export.scoring import models, quarantine, raw_rows, score
from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.reading import csv_stream, source
from tests.export import tiny

# 101, city, device, visited, tags, words, price, age
_ROWS = [
    ("3", "Oslo", "phone", "1|2", "new|gift", "a b", "1.5", "20"),
    ("0", "", "watch", "", "sale", "", "", "-3"),
    ("", "Rome", "/tablet/a", "5|9|0|1", "", "a b c d e", "0", "nan"),
    ("99", "\u65b0", "\u7535\u8111", "3", "no|new|sale", "\u65b0", "-2.25", "1e3"),
]
_LISTS = {"visited": "|", "tags": "|", "words": " "}


def _write_csv(path: pathlib.Path, rows: "list[tuple[str, ...]]", scenario: str = "NL") -> None:
    names = ["row", "site", "101", *(f.name for f in tiny.SCHEMA.categorical[1:]), "price", "age"]
    lines = [",".join([str(n), scenario, *row]) for n, row in enumerate(rows)]
    path.write_text("\n".join([",".join(names), *lines]) + "\n", encoding="utf-8")


def _request(rows: "list[tuple[str, ...]]") -> requests.Request:
    """The request of the rows, made by hand: what a caller of the model server would send."""
    columns = dict(zip(["101", *(f.name for f in tiny.SCHEMA.categorical[1:])], zip(*rows)))
    found: requests.Request = {
        "101": np.array([int(v) if v else -1 for v in columns["101"]], np.int64),
        "city": requests.texts([v.encode() for v in columns["city"]]),
        "device": requests.texts([v.encode() for v in columns["device"]]),
    }
    for name, separator in _LISTS.items():
        lists = [[v for v in cell.split(separator) if v] for cell in columns[name]]
        width = max(1, *map(len, lists))
        if name == "visited":
            padded = [[int(v) for v in own] + [-1] * (width - len(own)) for own in lists]
            found[name] = np.array(padded, np.int64)
        else:
            flat = [v.encode() for own in lists for v in own + [""] * (width - len(own))]
            found[name] = requests.texts(flat).reshape(len(rows), width)
    for place, name in ((6, "price"), (7, "age")):
        found[name] = np.array([float(row[place] or "nan") for row in rows], np.float32)
    return found


@pytest.fixture(scope="module")
def serving(exported: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A serving directory of the model of NL."""
    directory = tmp_path_factory.mktemp("scoring") / "serving"
    shutil.copytree(exported, directory / "NL" / "1")
    return directory


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_scores_are_those_of_the_trained_model(
    serving: pathlib.Path, tmp_path: pathlib.Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "BATCH_ROWS", 7)
    monkeypatch.setattr(csv_stream, "BLOCK_BYTES", 300)
    rows = _ROWS * 10
    source, output = tmp_path / f"new.{ending}", tmp_path / f"scores.{ending}"
    _write_csv(tmp_path / "new.csv", rows)
    if ending == "parquet":
        parquet.write_table(arrow_csv.read_csv(tmp_path / "new.csv"), source)
    served = models.ServedModels(serving)
    wanted = raw_rows.Wanted(served.schema, "site", None, ("row",))
    totals = score.score(served, wanted, raw_rows.find(source)[0], output)
    assert totals.rows == {"NL": len(rows)}
    read = arrow_csv.read_csv if ending == "csv" else parquet.read_table
    found = read(output)
    assert found.column_names == ["row", "scenario", "p_click", "p_buy_given_click", "p_buy"]
    assert found.column("row").to_pylist() == list(range(len(rows)))
    expected = tiny.model().predict(_request(rows))
    values = {name: found.column(name).to_numpy() for name in found.column_names[2:]}
    np.testing.assert_allclose(values["p_click"], expected["click"], atol=1e-6)
    np.testing.assert_allclose(values["p_buy_given_click"], expected["buy"], atol=1e-6)
    np.testing.assert_allclose(values["p_buy"], expected["click"] * expected["buy"], atol=1e-6)
    assert np.ptp(values["p_click"]) > answers.TOLERANCE  # rows differ, so an order is held
    assert totals.sums["NL"]["p_click"] == pytest.approx(float(expected["click"].sum()), rel=1e-5)


def test_a_network_in_memory_says_the_same_as_its_export(serving: pathlib.Path) -> None:
    request = _request(_ROWS)
    exported = models.ServedModels(serving).load("NL")(request)
    trained = models._in_memory(tiny.model().network, tiny.SCHEMA)(request)
    for task, values in exported.items():
        np.testing.assert_allclose(trained[task], values, atol=1e-6)


def test_a_changed_version_is_not_scored_with(
    serving: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    copy = pathlib.Path(shutil.copytree(serving, tmp_path / "serving"))
    graph = copy / "NL" / "1" / "saved_model.pb"
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(errors.PfrecError, match=r"saved_model\.pb was changed; export it again"):
        models.ServedModels(copy)


_PLAIN = schema_lib.Schema((), (schema_lib.Numerical("x"),), (schema_lib.Task("click", "click"),))


class _Constant:
    """Models that answer with a number each: of a 0.25, of b 0.75."""

    scenarios, schema = ("a", "b"), _PLAIN

    def load(self, scenario: str) -> models.Predict:
        value = {"a": 0.25, "b": 0.75}[scenario]
        return lambda request: {"click": np.full(requests.rows(request), value, np.float32)}


def _scored(tmp_path: pathlib.Path, text: str, **options: str) -> "tuple[pa.Table, score.Totals]":
    (tmp_path / "in.csv").write_text("site,x\n" + text)
    wanted = raw_rows.Wanted(_PLAIN, "site", None, ("x",))
    output = tmp_path / "out.csv"
    totals = score.score(
        _Constant(), wanted, raw_rows.find(tmp_path / "in.csv")[0], output, **options
    )
    return arrow_csv.read_csv(output), totals


def test_each_row_by_the_model_of_its_scenario(tmp_path: pathlib.Path) -> None:
    found, totals = _scored(tmp_path, "a,1\nb,2\nb,3\na,4\n")
    assert found.column("p_click").to_pylist() == [0.25, 0.75, 0.75, 0.25]
    assert found.column("x").to_pylist() == [1, 2, 3, 4]
    assert found.column("scenario").to_pylist() == ["a", "b", "b", "a"]
    assert totals.rows == {"a": 2, "b": 2}


def _scenarios(folder: pathlib.Path, column: "str | None", **aliases: str) -> "list[str]":
    wanted = raw_rows.Wanted(_PLAIN, column, None, ("x",), aliases=aliases)
    output = folder.parent / "out.csv"
    score.score(_Constant(), wanted, raw_rows.find(folder)[0], output)
    found = arrow_csv.read_csv(output)
    return [f"{s} {x}" for s, x in zip(*(found.column(n).to_pylist() for n in ("scenario", "x")))]


def test_files_are_found_and_read_as_in_a_conversion(tmp_path: pathlib.Path) -> None:
    """Further endings, folders, archives, and partitions, whose keys are columns."""
    folder = tmp_path / "in"
    (folder / "site=b").mkdir(parents=True)
    parquet.write_table(pa.table({"x": [1.0]}), folder / "site=b" / "1.PQ")
    with zipfile.ZipFile(folder / "site=b" / "2.zip", "w") as archive:
        archive.writestr("two.csv", "x\n2\n")
    (folder / "three.tsv").write_text("site\tx\nbe\t3\n")
    assert _scenarios(folder, "site", be="a") == ["b 1", "b 2", "a 3"]


def test_each_file_may_be_a_scenario(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "b.csv").write_text("x\n1\n")
    (folder / "be.csv").write_text("x\n2\n")
    assert _scenarios(folder, None, be="a") == ["b 1", "a 2"]


def test_an_unknown_scenario_is_refused_or_gets_the_mean(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.PfrecError, match=r"line 3.*no model of scenario 'c'.*a, b"):
        _scored(tmp_path, "a,1\nc,2\n")
    assert not (tmp_path / "out.csv").exists()
    found, _ = _scored(tmp_path, "a,1\nc,2\n", unknown_scenario="mean")
    assert found.column("p_click").to_pylist() == [0.25, 0.5]


def test_a_row_that_cannot_be_read_stops_or_is_left_out(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.PfrecError, match=r"line 3.*'two' is not a number"):
        _scored(tmp_path, "a,1\nb,two\nb,3\n")
    assert not (tmp_path / "out.csv").exists()
    found, totals = _scored(tmp_path, "a,1\nb,two\nb,3\n", on_bad_row="skip")
    assert found.column("x").to_pylist() == [1, 3]
    assert totals.bad == {"not_a_number": 1}


def test_scores_are_joined_to_a_file_with_cut_rows_by_the_numbers_of_those(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where blocks of some rows are scored side by side."""
    monkeypatch.setattr(csv_stream, "BLOCK_BYTES", 40)
    lines = [f"a,{n}" for n in range(60)]
    lines[7], lines[30], lines[59] = "a,seven", "b", "a,5,9"
    place = quarantine.place(tmp_path / "out.csv")
    place.write_text("of scores that were removed")
    found, totals = _scored(tmp_path, "\n".join(lines) + "\n", on_bad_row="quarantine")
    told = [json.loads(line) for line in place.read_text().splitlines()]
    assert [(entry["row"], entry["line"], entry["text"]) for entry in told] == [
        (7, 9, "a,seven"),
        (30, 32, "b"),
        (59, 61, "a,5,9"),
    ]
    assert {entry["file"] for entry in told} == {str(tmp_path / "in.csv")}
    assert place.stat().st_mode & 0o777 == 0o600
    kept = [n for n in range(60) if n not in {entry["row"] for entry in told}]
    assert found.column("x").to_pylist() == kept
    assert totals.bad == {"not_a_number": 1, "number_of_values": 2}
    assert predict._left_out(totals, "quarantine", tmp_path / "out.csv") == [
        f"bad rows left out, not_a_number: 1 ({tmp_path / 'in.csv'} row 7)",
        f"bad rows left out, number_of_values: 2 ({tmp_path / 'in.csv'} row 30, "
        f"{tmp_path / 'in.csv'} row 59)",
        f"the numbers of all, from 0 in their file, are in {place}",
    ]


@pytest.mark.parametrize("on_bad_row", ["stop", "skip"])
def test_numbers_of_rows_of_other_scores_do_not_stand_beside_new_ones(
    tmp_path: pathlib.Path, on_bad_row: str
) -> None:
    place = quarantine.place(tmp_path / "out.csv")
    place.write_text("of scores that were removed")
    with pytest.raises(errors.PfrecError, match="exists, of other scores; choose another --outp"):
        _scored(tmp_path, "a,1\n", on_bad_row=on_bad_row)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", place.name]
    assert place.read_text() == "of scores that were removed"


def test_of_many_bad_rows_the_first_are_named(tmp_path: pathlib.Path) -> None:
    _, totals = _scored(tmp_path, "a,1\n" + "a,x\n" * 5, on_bad_row="skip")
    file = tmp_path / "in.csv"
    first, how = predict._left_out(totals, "skip", tmp_path / "out.csv")
    assert first == (
        f"bad rows left out, not_a_number: 5 ({file} row 1, {file} row 2, {file} row 3 and 2 more)"
    )
    assert "--on_bad_row=quarantine lists all left out" in how
    assert predict._left_out(score.Totals(), "skip", tmp_path / "out.csv") == []


def test_scores_that_are_refused_leave_nothing_behind(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.PfrecError, match="no model of scenario 'c'"):
        _scored(tmp_path, "a,x\nc,2\n", on_bad_row="quarantine")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_a_missing_column_is_told_before_the_first_row(tmp_path: pathlib.Path) -> None:
    (tmp_path / "in.csv").write_text("site\na\n")
    wanted = raw_rows.Wanted(_PLAIN, "site", None)
    with pytest.raises(errors.PfrecError, match="no column 'x'"):
        score.score(
            _Constant(), wanted, raw_rows.find(tmp_path / "in.csv")[0], tmp_path / "out.csv"
        )
    parquet.write_table(pa.table({"site": ["a"]}), tmp_path / "in.parquet")
    with pytest.raises(errors.PfrecError, match="no column 'x'"):
        score.score(
            _Constant(), wanted, raw_rows.find(tmp_path / "in.parquet")[0], tmp_path / "out.csv"
        )


def test_truth_values_of_another_spelling_are_told(tmp_path: pathlib.Path) -> None:
    schema = schema_lib.Schema(
        (
            schema_lib.Categorical("new", 2, encoding="vocabulary", vocabulary=("false", "true")),
            schema_lib.Categorical("old", 9, encoding="hash"),
        ),
        (),
        (schema_lib.Task("click", "click"),),
    )
    wanted = raw_rows.Wanted(schema, None, "a", ())
    (tmp_path / "in.csv").write_text("new,old\nTrue,true\nfalse,false\nFalse,\n")
    answered = _Constant()
    answered.schema = schema
    inputs = raw_rows.find(tmp_path / "in.csv")[0]
    totals = score.score(answered, wanted, inputs, tmp_path / "out.csv")
    assert totals.strange == {"new": {"True", "False"}}
    assert predict._strange(totals, answered) == [
        "'new' holds False, True, which the model does not know: of truth values it knows false, "
        "true; spell them so"
    ]

    # Booleans have no spelling and are taken as the model knows them.
    upper = dataclasses.replace(schema.categorical[0], vocabulary=("False", "True"))
    for feature, text in ((schema.categorical[0], b"true"), (upper, b"True")):
        own = dataclasses.replace(
            wanted, schema=dataclasses.replace(schema, categorical=(feature,))
        )
        rows = source.RawChunk("a file", np.arange(1), {"new": pa.array([True])})
        assert raw_rows.request(rows, own)["new"].tolist() == [text]
        assert raw_rows.strange(rows, own) == {}


def test_ids_that_floats_do_not_tell_apart_are_told(tmp_path: pathlib.Path) -> None:
    schema = schema_lib.Schema(
        (schema_lib.Categorical("user", 9, encoding="hash"),),
        (),
        (schema_lib.Task("click", "click"),),
    )
    answered = _Constant()
    answered.schema = schema
    ids = pa.table({"user": [1e18, 7.0, None]})
    parquet.write_table(ids, tmp_path / "in.parquet")
    inputs = raw_rows.find(tmp_path / "in.parquet")[0]
    wanted = raw_rows.Wanted(schema, None, "a", ())
    totals = score.score(answered, wanted, inputs, tmp_path / "out.csv")
    assert totals.rounded == {"user": 1}
    (note,) = predict._strange(totals, answered)
    assert note.startswith("'user': 1 row with an id as a floating-point number from 2^53 on")
