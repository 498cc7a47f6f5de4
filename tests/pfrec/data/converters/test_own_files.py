"""A user's own files: layouts, compressions, folders, splits and scenarios, each from one small log
whose rows are known.
"""

import bz2
import gzip
import io
import json
import lzma
import zipfile

import pyarrow as pa
import pytest
from pyarrow import parquet

from pfrec import errors
from pfrec.commands import convert
from pfrec.data.dataset import dataset
from tests.pfrec.data import raw_layouts

_ROWS = 120
_NAMES = ["site", "item", "price", "click", "ts", "part", "search"]
_SCHEMA = """
[scenario]
column = "site"
[[categorical]]
name = "item"
encoding = "hash"
cardinality = 997
[[numerical]]
name = "price"
normalise = "standard"
[[task]]
name = "click"
[split]
valid = 0.2
test = 0.2
"""


def _rows():
    parts = ["train", "train", "train", "valid", "test"]
    return [
        [
            *("ab"[i % 2], str(i // 3), f"{i}.5", str(i % 3 % 2)),
            *(str(1_700_000_000 + i), parts[i % 5], f"q{i // 10}"),
        ]
        for i in range(_ROWS)
    ]


def _csv(rows, delimiter=",", header=True):
    lines = [*([_NAMES] if header else []), *rows]
    return "".join(delimiter.join(line) + "\n" for line in lines)


def _convert(tmp_path, more="", schema=_SCHEMA, raw="raw", **options):
    (tmp_path / "s.toml").write_text(schema + more, encoding="utf-8")
    source_format = options.pop("source_format", "csv")
    notes = convert.convert(
        source_format,
        tmp_path / raw,
        tmp_path / "data",
        schema_path=tmp_path / "s.toml",
        **options,
    )
    return dataset.Dataset.open(tmp_path / "data"), notes


def _stored(data):
    """All rows by split, as sorted tuples of id and label."""
    return {
        split: sorted(
            (int(row.categorical[0, 0]), int(row.labels[0, 0]))
            for scenario in data.scenarios
            for path in data.shards(scenario, split)
            for row in raw_layouts.rows_of(path, data.schema)
        )
        for split in ("train", "valid", "test")
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    (folder / "raw").mkdir()
    (folder / "raw" / "log.csv").write_text(_csv(_rows()))
    return _stored(_convert(folder)[0])


def _zipped(text):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inner/log.csv", text)
        archive.writestr("README.md", "about")
    return buffer.getvalue()


def _commas(rows):
    return [[row[0], row[1], row[2].replace(".", ","), *row[3:]] for row in rows]


_LAYOUTS = {
    "tab": ("log.csv", _csv(_rows(), "\t").encode(), ""),
    "tsv": ("log.tsv", _csv(_rows(), "\t").encode(), ""),
    "capitals": ("LOG.CSV", _csv(_rows()).encode(), ""),
    "bar": ("log.csv", _csv(_rows(), "|").encode(), ""),
    "semicolon": ("log.csv", _csv(_rows(), ";").encode(), ""),
    "decimal comma": ("log.csv", _csv(_commas(_rows()), ";").encode(), ""),
    "decimal comma said": ("x.csv", _csv(_commas(_rows()), "\t").encode(), 'decimal = ","'),
    "colon": ("log.csv", _csv(_rows(), ":").encode(), 'delimiter = ":"'),
    "byte order mark": ("log.csv", b"\xef\xbb\xbf" + _csv(_rows()).encode(), ""),
    "utf-16": ("log.csv", _csv(_rows()).encode("utf-16"), ""),
    "utf-16 said": ("log.csv", _csv(_rows()).encode("utf-16-le"), 'encoding = "utf-16-le"'),
    "gbk": ("log.csv", _csv([*_rows()]).encode("gbk"), 'encoding = "gbk"'),
    "windows lines": ("log.csv", _csv(_rows()).replace("\n", "\r\n").encode(), ""),
    "blanks in the header": ("log.csv", _csv(_rows()).replace(",", ", ", 3).encode(), ""),
    "no header": ("l.csv", _csv(_rows(), ",", False).encode(), f"columns = {json.dumps(_NAMES)}"),
    "no header, tabs": (
        "log.csv",
        _csv(_rows(), "\t", False).encode(),
        f"columns = {json.dumps(_NAMES)}",
    ),
    "gz": ("log.csv.gz", gzip.compress(_csv(_rows()).encode()), ""),
    "bz2": ("log.csv.bz2", bz2.compress(_csv(_rows()).encode()), ""),
    "xz": ("log.csv.xz", lzma.compress(_csv(_rows()).encode()), ""),
    "zst": ("log.csv.zst", bytes(pa.compress(_csv(_rows()).encode(), "zstd", asbytes=True)), ""),
    "zip": ("log.zip", _zipped(_csv(_rows())), ""),
    "nested": ("deep/er/log.csv", _csv(_rows()).encode(), ""),
}


@pytest.mark.parametrize("case", _LAYOUTS)
def test_every_layout_gives_the_same_rows(case, plain, tmp_path):
    name, content, said = _LAYOUTS[case]
    (tmp_path / "raw" / name).parent.mkdir(parents=True)
    (tmp_path / "raw" / name).write_bytes(content)
    data, _ = _convert(tmp_path, f"[file]\n{said}\n" if said else "")
    assert _stored(data) == plain


@pytest.mark.parametrize(
    ("quoting", "first", "rows"),
    [
        ("none", '5" nail', _ROWS + 1),
        ("none", '"half', _ROWS + 1),
        ("backslash", r'"5\" nail, long"', _ROWS + 1),
        ("backslash", r'"a\\"', _ROWS + 1),
        ("double", '"5"" nail, long"', _ROWS + 1),
    ],
)
def test_quotes(quoting, first, rows, tmp_path):
    (tmp_path / "raw").mkdir()
    text = _csv([["a", first, "1.5", "0", "1700000000", "train", "q0"], *_rows()])
    (tmp_path / "raw" / "log.csv").write_text(text)
    data, _ = _convert(tmp_path, f'[file]\nquoting = "{quoting}"\n')
    assert sum(map(len, _stored(data).values())) == rows


def test_flags_go_over_the_schema(plain, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "log.csv").write_text(_csv(_rows(), ":", False))
    layout = {"delimiter": ":", "names": tuple(_NAMES)}
    data, _ = _convert(tmp_path, '[file]\ndelimiter = ","\n', layout=layout)
    assert _stored(data) == plain


def test_files_that_are_not_read_are_named(tmp_path):
    (tmp_path / "raw" / "sub").mkdir(parents=True)
    (tmp_path / "raw" / "log.csv").write_text(_csv(_rows()))
    (tmp_path / "raw" / "sub" / "more.csv.gz").write_bytes(gzip.compress(_csv(_rows()).encode()))
    (tmp_path / "raw" / "notes.txt").write_text("x")
    (tmp_path / "raw" / "_SUCCESS").write_text("")
    (tmp_path / "raw" / "old.parquet").write_text("")
    data, notes = _convert(tmp_path)
    assert sum(map(len, _stored(data).values())) == 2 * _ROWS
    named = next(note for note in notes if note.startswith("not read"))
    assert all(name in named for name in ("notes.txt", "_SUCCESS", "old.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", bz2.compress(b"a,b\n"), "is bzip2 under another name; call it log.csv.bz2"),
        ("log.csv", lzma.compress(b"a,b\n"), "is xz under another name"),
        ("log.csv", _zipped("a,b\n"), "is a zip archive under another name"),
        ("log.csv", b"PAR1", "is a Parquet file; pass --format=parquet"),
        ("log.csv", "a,é\n".encode("latin-1"), "not UTF-8"),
        ("log.txt", b"a\n", r"holds no \*.csv or \*.tsv file; it holds log.txt"),
    ],
    # An archive's bytes hold the time: of them no name is made.
    ids=["bzip2", "xz", "zip", "parquet", "latin-1", "other"],
)
def test_what_cannot_be_read_says_what_it_is(name, content, message, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / name).write_bytes(content)
    with pytest.raises(errors.PfrecError, match=message):
        _convert(tmp_path)


@pytest.mark.parametrize("source_format", ["csv", "parquet"])
def test_partition_keys_are_columns(source_format, plain, tmp_path):
    for site in "ab":
        folder = tmp_path / "raw" / "day=2023-11-14" / f"site={site}"
        folder.mkdir(parents=True)
        rows = [row[1:] for row in _rows() if row[0] == site]
        if source_format == "csv":
            lines = [_NAMES[1:], *rows]
            (folder / "part-0.csv").write_text("".join(",".join(line) + "\n" for line in lines))
        else:
            columns = {name: [row[i] for row in rows] for i, name in enumerate(_NAMES[1:])}
            parquet.write_table(pa.table(columns), folder / "part-0.parquet")
    data, _ = _convert(tmp_path, source_format=source_format)
    assert data.scenarios == ("a", "b")
    found = _stored(data)
    assert sorted(row for rows in found.values() for row in rows) == sorted(
        row for rows in plain.values() for row in rows
    )


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (
            'time = "ts"\nvalid_from = 1700000060\ntest_from = 1700000100',
            {"train": 60, "valid": 40, "test": 20},
        ),
        (
            'time = "ts"\nvalid_from = "2023-11-14T22:14:20Z"\ntest_from = "2023-11-14T22:15:00Z"',
            {"train": 60, "valid": 40, "test": 20},
        ),
        (
            'time = "ts"\nvalid_from = 2023-11-14T22:14:20Z\ntest_from = 2023-11-14T22:15:00Z',
            {"train": 60, "valid": 40, "test": 20},
        ),
        ('time = "ts"', {"train": 72, "valid": 24, "test": 24}),
        ('column = "part"', {"train": 72, "valid": 24, "test": 24}),
    ],
)
def test_splits_by_time_and_by_column(said, wanted, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "log.csv").write_text(_csv(_rows()))
    data, _ = _convert(tmp_path, said)
    assert {split: len(rows) for split, rows in _stored(data).items()} == wanted
    record = json.loads((tmp_path / "data" / "dataset.json").read_text())["split"]
    assert record["kind"] == said.split(" ", maxsplit=1)[0]
    assert record["repeated"]["sampled"] == 1.0


def test_the_last_days_are_of_test(tmp_path):
    (tmp_path / "raw").mkdir()
    rows = _rows()
    for i, row in enumerate(rows):
        row[4] = f"2023-11-{1 + i // 12:02d} 10:00:00"
    (tmp_path / "raw" / "log.csv").write_text(_csv(rows))
    data, _ = _convert(tmp_path, 'time = "ts"\nvalid_days = 2\ntest_days = 3\n')
    assert {s: len(r) for s, r in _stored(data).items()} == {"train": 60, "valid": 24, "test": 36}
    record = json.loads((tmp_path / "data" / "dataset.json").read_text())["split"]
    assert (record["valid_from"], record["test_from"]) == (
        "2023-11-06T00:00:00Z",
        "2023-11-08T00:00:00Z",
    )


def test_a_group_is_not_cut(tmp_path):
    (tmp_path / "raw").mkdir()
    rows = [[*row[:6], f"q{i // 2}"] for i, row in enumerate(_rows())]
    (tmp_path / "raw" / "log.csv").write_text(_csv(rows))
    schema = 'group = "search"\n' + _SCHEMA
    data, _ = _convert(tmp_path, 'by = "search"\n', schema)
    places = {}
    for split in ("train", "valid", "test"):
        for scenario in data.scenarios:
            for path in data.shards(scenario, split):
                for row in raw_layouts.rows_of(path, data.schema):
                    places.setdefault(int(row.group[0]), set()).add(split)
    assert len(places) == _ROWS // 2
    assert all(len(found) == 1 for found in places.values())


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("valid", [True, False])
def test_splits_by_files(nested, valid, tmp_path):
    names = ["train", "validation", "test"] if valid else ["train", "test"]
    for name in names:
        path = tmp_path / "raw" / (f"{name}/part-0.csv" if nested else f"{name}.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_csv(_rows()))
    data, _ = _convert(tmp_path, "files = true\n")
    found = {split: len(rows) for split, rows in _stored(data).items()}
    assert found["test"] == _ROWS
    assert found["train"] + found["valid"] == _ROWS * (len(names) - 1)
    assert found["valid"] == _ROWS if valid else 10 < found["valid"] < 40
    if valid:
        record = json.loads((tmp_path / "data" / "dataset.json").read_text())["split"]
        assert record["repeated"]["test"] == {"rows": _ROWS, "also_in_train": _ROWS}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ('time = "ts"\nby = "item"', "time and by do not go together"),
        ('valid_from = 3\nby = "item"', "go with time alone"),
        ('time = "ts"\nvalid_from = 3', "give both valid_from and test_from"),
        ('time = "ts"\nvalid_days = 0\ntest_days = 1', "must be at least 1"),
        ('time = "ts"\nvalid_from = "soon"\ntest_from = 5', "valid_from = 'soon' is no time"),
        ('time = "ts"\nvalid_from = 5\ntest_from = 5', "valid_from must be before test_from"),
        ("files = false", "files must be true"),
        ("files = true", "called train, valid or test"),
        ('time = "item"\nvalid_from = 1\ntest_from = 9999', "no test rows.*--min_rows"),
        ('time = "part"', "holds no time"),
        ('column = "site"', "line 2, column 'site': 'a' is not train, valid or test"),
        ('time = "never"', "no column 'never'"),
    ],
)
def test_splits_that_cannot_be(said, message, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "log.csv").write_text(_csv(_rows()))
    with pytest.raises(errors.PfrecError, match=message):
        _convert(tmp_path, said)


def test_spellings_of_a_scenario_are_joined_or_told(tmp_path):
    (tmp_path / "raw").mkdir()
    rows = [[row[0].upper() if i % 4 < 2 else row[0], *row[1:]] for i, row in enumerate(_rows())]
    (tmp_path / "raw" / "log.csv").write_text(_csv(rows))
    data, notes = _convert(tmp_path)
    assert data.scenarios == ("A", "B", "a", "b")
    assert sum("differ in case or blanks alone" in note for note in notes) == 2
    (tmp_path / "joined").mkdir()
    (tmp_path / "joined" / "raw").symlink_to(tmp_path / "raw")
    joined = _SCHEMA.replace('"site"', '"site"\naliases = {A = "a", B = "b"}')
    data, notes = _convert(tmp_path / "joined", schema=joined)
    assert data.scenarios == ("a", "b")
    assert notes == []


def test_scenarios_are_chosen_and_small_ones_left_out(tmp_path):
    (tmp_path / "raw").mkdir()
    rows = [*_rows(), *[["tiny place", *row[1:]] for row in _rows()[:2]]]
    (tmp_path / "raw" / "log.csv").write_text(_csv(rows))
    with pytest.raises(errors.PfrecError, match=r"scenario 'tiny place' \(2 rows, no .*--min_rows"):
        _convert(tmp_path)
    with pytest.raises(errors.PfrecError, match="no scenario 'c'; there are a, b, tiny place"):
        _convert(tmp_path, scenarios=["c"])
    with pytest.raises(errors.PfrecError, match="no scenario has 1,000 rows"):
        _convert(tmp_path, min_rows=1000)
    data, notes = _convert(tmp_path, min_rows=10, scenarios=["b"])
    assert data.scenarios == ("b",)
    assert notes == ["scenarios left out: 'a' (60 rows), 'tiny place' (2 rows)"]


def test_quarantine_survives_a_refusal(tmp_path):
    (tmp_path / "raw").mkdir()
    rows = [[*row[:2], "cheap", *row[3:]] if row[0] == "b" else row for row in _rows()]
    (tmp_path / "raw" / "log.csv").write_text(_csv(rows))
    message = "scenario 'b' has no train and no valid and no test rows; 60 bad rows were left out"
    with pytest.raises(errors.PfrecError, match=message) as raised:
        _convert(tmp_path, on_bad_row="quarantine")
    kept = tmp_path / "data-quarantine.jsonl"
    assert str(raised.value).endswith(f"bad rows are in {kept}")
    assert len(kept.read_text().splitlines()) == 60
    assert not (tmp_path / "data").exists()


def test_no_rows_is_not_said_of_bad_rows(tmp_path):
    (tmp_path / "raw").mkdir()
    rows = [[*row[:2], "cheap", *row[3:]] for row in _rows()]
    (tmp_path / "raw" / "log.csv").write_text(_csv(rows))
    with pytest.raises(errors.PfrecError, match="no good row; 120 bad rows were left out"):
        _convert(tmp_path, on_bad_row="skip")


@pytest.mark.parametrize(
    ("texts", "ids"),
    [
        (["17", "17.0", "17.00"], 1),
        (["0", "0.0"], 1),
        (["-3", "-3.0"], 1),
        (["007", "7"], 2),
        (["1.5", "1.50"], 2),
        (["v1.0", "v1"], 2),
    ],
)
def test_canonical_forms_of_ids(texts, ids, tmp_path):
    (tmp_path / "raw").mkdir()
    rows = [[row[0], texts[i % len(texts)], *row[2:]] for i, row in enumerate(_rows())]
    (tmp_path / "raw" / "log.csv").write_text(_csv(rows))
    data, _ = _convert(tmp_path)
    assert len({row[0] for rows in _stored(data).values() for row in rows}) == ids


def test_unknown_values_and_raw_numbers_are_warned_of(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "log.csv").write_text(_csv(_rows()))
    more = '[[categorical]]\nname = "search"\nvocabulary = ["q1", "q2"]\n'
    more += '[[numerical]]\nname = "ts"\n'
    data, notes = _convert(tmp_path, more)
    assert len(data.warnings) == 2
    assert data.warnings[0].startswith("'ts' enters the model as raw numbers of large size")
    assert data.warnings[1].startswith("'search': 83% of its values are not in its vocabulary")
    assert notes == [f"WARNING: {line}" for line in data.warnings]


def test_a_scenario_without_the_column_of_a_label_does_not_serve_the_task(tmp_path):
    """Where an empty label is an unobserved one; otherwise the column is missing."""
    schema = """
[[categorical]]
name = "item"
encoding = "hash"
cardinality = 97
[[task]]
name = "click"
[[task]]
name = "part"
positive = ["train"]
given = "click"
missing = "unobserved"
[split]
valid = 0.2
test = 0.2
"""
    raw = tmp_path / "raw"
    raw.mkdir()
    for scenario, names in (("nl", _NAMES), ("fr", [n for n in _NAMES if n != "part"])):
        kept = [_NAMES.index(name) for name in names]
        lines = [names, *([row[i] for i in kept] for row in _rows())]
        (raw / f"{scenario}.csv").write_text("".join(",".join(line) + "\n" for line in lines))
    with pytest.raises(errors.PfrecError, match=r"fr.csv: no column 'part'"):
        _convert(tmp_path, schema=schema.replace('missing = "unobserved"', ""))
    data, _ = _convert(tmp_path, schema=schema)
    assert data.observed("fr", "train", "part") == 0
    assert data.observed("fr", "train", "click") == data.rows("fr", "train")
    assert data.observed("nl", "train", "part") > 0
