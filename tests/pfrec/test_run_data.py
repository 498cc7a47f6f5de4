"""A run knows its rows wherever they are, and takes no others for them."""

import dataclasses
import subprocess
import sys

import pytest

from pfrec import errors, run_data
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import writer
from tests.conftest import random_rows


def write(path, schema, seed=0, clients=None):
    """A dataset of two scenarios; `clients` are what each knows of the schema alone."""
    with writer.DatasetWriter(path, schema, source_format="test", split_seed=0) as target:
        for number, scenario in enumerate(("es", "nl")):
            for offset, split in enumerate(("train", "valid", "test")):
                rows = random_rows(schema, 40, seed + 10 * number + offset)
                target.add(scenario, split, rows)
        target.describe_clients(clients or {})
    return dataset_lib.Dataset.open(path)


def config(run, dataset):
    return {**run_data.places(run, dataset.path), run_data.DIGESTS: dict(dataset.digests)}


@pytest.fixture
def local(schema):
    """A schema of which clients normalise a column by themselves, and what a client knows of it."""
    price, age = schema.numerical
    agreed = dataclasses.replace(
        schema,
        numerical=(dataclasses.replace(price, default=None, normalise="standard"), age),
    )

    def own(shift):
        known = dataclasses.replace(
            price, default=shift, normalise="standard", shift=shift, scale=2.0
        )
        return dataclasses.replace(agreed, numerical=(known, age))

    return agreed, own


def test_digests_tell_the_scenarios_whose_rows_differ(schema, tmp_path):
    first, again = write(tmp_path / "a", schema), write(tmp_path / "b", schema)
    assert first.digests == again.digests
    assert first.digests["es"] != first.digests["nl"]
    known = config(tmp_path / "run", first)
    other = write(tmp_path / "c", schema, seed=100)
    assert run_data.changed(known, again) == []
    assert run_data.changed(known, other) == ["es", "nl"]
    assert run_data.changed({}, other) == []  # of a run that did not note it
    assert run_data.learned(known, again) == ["es", "nl"]
    assert run_data.learned(known, again.only(["nl"])) == ["nl"]
    assert run_data.learned(known, other) == run_data.learned({}, first) == []


def test_a_run_finds_its_rows_where_either_is_moved(schema, tmp_path):
    data = write(tmp_path / "one" / "data", schema)
    run = tmp_path / "one" / "run"
    run.mkdir()
    known = config(run, data)
    (tmp_path / "one").rename(tmp_path / "two")  # both together
    assert run_data.open_own(tmp_path / "two" / "run", known).digests == data.digests
    with pytest.raises(errors.PfrecError, match=r"no longer in .*one/data; name their place"):
        run_data.open_own(tmp_path / "run", known)
    (tmp_path / "two").rename(tmp_path / "one")
    (tmp_path / "one" / "run").rename(tmp_path / "run")  # the run alone
    assert run_data.open_own(tmp_path / "run", known).digests == data.digests


def test_other_rows_in_the_same_place_are_refused_by_name(schema, tmp_path):
    data = write(tmp_path / "data", schema)
    known = config(tmp_path / "run", data)
    (tmp_path / "data").rename(tmp_path / "kept")
    write(tmp_path / "data", schema, seed=1)
    with pytest.raises(errors.PfrecError, match=r"holds other rows of es, nl than .*run"):
        run_data.open_own(tmp_path / "run", known)


def test_a_client_keeps_what_it_alone_knows_of_its_schema(local, tmp_path):
    agreed, own = local
    data = write(tmp_path / "data", agreed, clients={"es": own(1.0), "nl": own(5.0)})
    with pytest.raises(errors.PfrecError, match=r"client_schema\.json: no such file"):
        run_data.read_client_schema(tmp_path / "nl", agreed)
    run_data.keep_client_schema(tmp_path / "nl", data, "nl")
    (tmp_path / "data").rename(tmp_path / "kept")
    tomorrow = write(tmp_path / "data", agreed, clients={"es": own(1.0), "nl": own(9.0)})
    run_data.keep_client_schema(tmp_path / "nl", tomorrow, "nl")  # what is there stays
    assert run_data.read_client_schema(tmp_path / "nl", agreed) == own(5.0)
    clients = {"es": own(1.0), "nl": own(5.0)}
    with pytest.raises(errors.PfrecError, match="ids and numbers of nl mean something else"):
        run_data.open_given(tmp_path / "data", agreed, clients)
    assert run_data.open_given(tmp_path / "kept", agreed, clients).digests == data.digests


def test_given_data_must_have_the_runs_scenarios_and_columns(schema, tmp_path):
    write(tmp_path / "data", schema)
    with pytest.raises(errors.PfrecError, match="knows none of the run's scenarios fr"):
        run_data.open_given(tmp_path / "data", schema, {"fr": schema})
    other = dataclasses.replace(schema, group=None)
    with pytest.raises(errors.PfrecError, match="not encoded as the run's rows: group"):
        run_data.open_given(tmp_path / "data", other, {"nl": other})


def test_a_keyed_digest_needs_the_secret():
    assert run_data.keyed("a", b"1") == run_data.keyed("a", b"1")
    assert (
        len({run_data.keyed("a", b"1"), run_data.keyed("a", b"2"), run_data.keyed("b", b"1")}) == 3
    )


def test_the_records_of_a_run_are_read_without_tensorflow():
    program = "import sys, pfrec.run_directory; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
