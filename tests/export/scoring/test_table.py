"""Names and products of probabilities, and files that appear whole or not at all."""

import os
import pathlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from export.scoring import table
from pfrec import errors
from pfrec.data import schema as schema_lib


def test_probabilities_of_a_chain_are_products() -> None:
    schema = schema_lib.Schema(
        (schema_lib.Categorical("item", 3),),
        (),
        (
            schema_lib.Task("buy", "buy", given="cart"),
            schema_lib.Task("click", "click"),
            schema_lib.Task("cart", "cart", given="click"),
        ),
    )
    predicted = {
        "buy": np.array([0.5, 1.0], np.float32),
        "click": np.array([0.25, 0.5], np.float32),
        "cart": np.array([0.5, 0.125], np.float32),
    }
    found = table.probabilities(schema, predicted)
    assert {name: values.tolist() for name, values in found.items()} == {
        "p_buy_given_cart": [0.5, 1.0],
        "p_buy": [0.0625, 0.0625],
        "p_click": [0.25, 0.5],
        "p_cart_given_click": [0.5, 0.125],
        "p_cart": [0.125, 0.0625],
    }
    assert all(values.dtype == np.float32 for values in found.values())
    assert table.columns(schema) == tuple(found)


def _fails(
    path: pathlib.Path,
    error: "type[Exception]",
    columns: "list[list[object]]",
    then: "Callable[[], object]" = lambda: None,
) -> None:
    """Writing the columns and what comes after ends in an error."""

    def write() -> None:
        with table.writing(path) as add:
            for column in columns:
                add(pa.table({"x": column}))
            then()

    with pytest.raises(error):
        write()


def test_a_file_is_there_only_where_all_of_it_is(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "new" / "scores.parquet"
    _fails(path, ZeroDivisionError, [[1]], lambda: 1 // 0)
    assert list((tmp_path / "new").iterdir()) == []
    with table.writing(path) as add:
        add(pa.table({"x": [1]}))
        assert not path.exists()
        add(pa.table({"x": [2]}))
    assert parquet.read_table(path).column("x").to_pylist() == [1, 2]
    with pytest.raises(errors.PfrecError, match="exists; choose another --output"):
        table.require_new(path)
    with pytest.raises(errors.PfrecError, match=r"neither \.csv nor \.parquet"):
        table.require_new(tmp_path / "scores.txt")
    other = tmp_path / "other.parquet"
    _fails(other, errors.PfrecError, [[1], ["a"]])
    assert not other.exists()


def test_no_row_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.PfrecError, match="no row to score"):
        with table.writing(tmp_path / "scores.csv"):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_scores_are_their_owners_alone(name: str, umask: int, tmp_path: pathlib.Path) -> None:
    path = tmp_path / name
    (tmp_path / f".tmp-{name}").write_text("left by a process that was killed")
    before = os.umask(umask)
    try:
        with table.writing(path) as add:
            add(pa.table({"user": ["u1"]}))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    read = parquet.read_table(path) if name.endswith("parquet") else csv.read_csv(path)
    assert read.column("user").to_pylist() == ["u1"]


def test_a_second_process_does_not_write_into_what_a_first_one_writes(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "scores.csv"
    with table.writing(path) as add:
        add(pa.table({"x": [1]}))
        with pytest.raises(errors.PfrecError, match="another process is writing it"):
            with table.writing(path):
                pass
        add(pa.table({"x": [2]}))
    assert csv.read_csv(path).column("x").to_pylist() == [1, 2]


def test_what_another_process_wrote_meanwhile_stays(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("another's")
    with pytest.raises(errors.PfrecError, match="exists"):
        with table.writing(path) as add:
            add(pa.table({"x": [1]}))
    assert path.read_text() == "another's"
    assert list(tmp_path.iterdir()) == [path]
    # Whoever begins between a first one's renaming and its end has a temporary file of the same
    # name, which is not the first one's to remove.
    path.unlink()
    began: list[pathlib.Path] = []

    def begin(directory: pathlib.Path) -> None:
        if directory == tmp_path:
            began.append(directory / ".tmp-scores.csv")
            began[0].write_text("begun by another")

    monkeypatch.setattr(table.files, "sync", begin)
    with table.writing(path) as add:
        add(pa.table({"x": [1]}))
    assert began[0].read_text() == "begun by another"


def test_no_link_is_written_through(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "target"
    target.write_text("whole")
    (tmp_path / ".tmp-scores.csv").symlink_to(target)
    with pytest.raises(errors.PfrecError, match=r"scores\.csv"):
        with table.writing(tmp_path / "scores.csv") as add:
            add(pa.table({"x": [1]}))
    assert target.read_text() == "whole"
