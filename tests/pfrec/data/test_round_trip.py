"""Every row that goes in comes out of the input pipeline with equal values,
whatever the files look like.
"""

import csv
import gzip
import io
import re

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from pyarrow import parquet

from pfrec.commands import convert
from pfrec.data.dataset import dataset
from pfrec.data.reading import csv_stream
from tests.pfrec.data import rows_back

pytestmark = pytest.mark.usefixtures("rows_in_source_order")

_FRACTIONS = (0.5, 0.25, 0.25)
_WORDS = (
    "Rome",
    "",
    "ünï",
    'say "hi"',
    "a,b",
    "two\nlines",
    " space ",
    "007",
    "-5",
    "NA",
    "1.0",
    "\\N",
    "'",
    "x" * 300,
)
_COLUMNS = ("user", "word", "price", "click", "buy", "unused")


def _texts(encoding):
    letters = st.characters(
        codec=encoding, blacklist_characters="\0\r", blacklist_categories=("Cs",)
    )
    return st.one_of(st.sampled_from(_WORDS), st.text(letters, max_size=8))


@st.composite
def _rows(draw, encoding="utf-8"):
    count = draw(st.integers(40, 90))
    seed = draw(st.integers(0, 2**32 - 1))
    words = draw(st.lists(_texts(encoding), min_size=1, max_size=12))
    users = draw(st.lists(st.integers(-(2**62), 2**70), min_size=1, max_size=8))
    prices = draw(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8)
    )
    generator = np.random.default_rng(seed)
    return [
        {
            "user": users[generator.integers(len(users))],
            "word": words[generator.integers(len(words))],
            "price": prices[generator.integers(len(prices))],
            "click": int(generator.integers(2)),
            "buy": int(generator.integers(2)),
            "unused": words[generator.integers(len(words))],
        }
        for _ in range(count)
    ]


def _schema(words, extra=""):
    known = sorted({word for word in words if word})[:5]
    quoted = ", ".join('"' + "".join(f"\\U{ord(c):08X}" for c in word) + '"' for word in known)
    vocabulary = f"vocabulary = [{quoted}]" if known else 'encoding = "hash"\ncardinality = 3'
    return known, (
        'group = "user"\n[[categorical]]\nname = "user"\ncardinality = 1000003\nencoding '
        '= "hash"\n'
        f'[[categorical]]\nname = "word"\n{vocabulary}\n[[numerical]]\nname = '
        '"price"\n[[task]]\nname = "click"\n'
        f'[[task]]\nname = "buy"\ngiven = "click"\n[split]\nvalid = 0.25\ntest = 0.25\n{extra}'
    )


def _read(word, known):
    """17.0 is the item 17, where the vocabulary does not itself tell them apart."""
    pointed = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")
    if any(pointed.fullmatch(other) for other in known):
        return word
    whole = pointed.fullmatch(word)
    return whole.group(1) if whole else word


def _check(folder, rows, known, scenario):
    """Compares what the pipeline gives with the rows, by their place in the file."""
    import tensorflow as tf

    data = dataset.Dataset.open(folder / "data")
    for split, numbers in zip(
        ("train", "valid", "test"), rows_back.in_order(len(rows), 0, _FRACTIONS)
    ):
        expected = [rows[i] for i in numbers]
        found = rows_back.read_back(data, scenario, split)
        hashed = tf.strings.to_hash_bucket_fast(
            [str(row["user"]) for row in expected], 1_000_003
        ).numpy()
        np.testing.assert_array_equal(found["categorical"][:, 0], hashed)
        if known:
            places = [
                known.index(word) if word in known else len(known)
                for word in (_read(row["word"], known) for row in expected)
            ]
            np.testing.assert_array_equal(found["categorical"][:, 1], places)
        np.testing.assert_array_equal(
            found["numerical"][:, 0], np.array([row["price"] for row in expected], np.float32)
        )
        labels = [[row["click"], row["buy"] if row["click"] else 255] for row in expected]
        np.testing.assert_array_equal(found["labels"], labels)
        for row, group in zip(expected, found["group"].tolist()):
            if abs(row["user"]) < 10**18:
                assert group == row["user"]


@hypothesis.given(
    data=st.data(),
    encoding=st.sampled_from(["utf-8", "latin-1"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    delimiter=st.sampled_from([",", ";", "\t"]),
    zipped=st.booleans(),
    mark=st.booleans(),
    short=st.booleans(),
    block_bytes=st.sampled_from([64, 1000, 1 << 20]),
)
@hypothesis.settings(max_examples=20, deadline=None)
def test_csv(
    tmp_path_factory, data, encoding, line_end, quoting, delimiter, zipped, mark, short, block_bytes
):
    rows = data.draw(_rows(encoding))
    columns = data.draw(st.permutations(_COLUMNS[:-1]))
    folder = tmp_path_factory.mktemp("csv")
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator=line_end, quoting=quoting, delimiter=delimiter)
    writer.writerow([*columns, "unused"])
    for i, row in enumerate(rows):
        cells = [row[name] for name in columns]
        writer.writerow(cells if short and i % 3 == 0 else [*cells, row["unused"]])
        if i % 7 == 0:
            buffer.write(line_end)  # an empty line is no row
    content = buffer.getvalue().encode(encoding)
    if mark and encoding == "utf-8":
        content = b"\xef\xbb\xbf" + content
    name = "NL.csv.gz" if zipped else "NL.csv"
    (folder / name).write_bytes(gzip.compress(content) if zipped else content)
    file = (
        f'[file]\nencoding = "{encoding}"\ndelimiter = "{delimiter}"\nshort_rows = '
        f"{str(short).lower()}\n"
    )
    known, schema = _schema([row["word"] for row in rows], file.replace("\t", "\\t"))
    (folder / "s.toml").write_text(schema)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_stream, "BLOCK_BYTES", block_bytes)
        convert.convert("csv", folder / name, folder / "data", schema_path=folder / "s.toml")
    _check(folder, rows, known, "NL")


@hypothesis.given(
    rows=_rows(),
    columns=st.permutations(_COLUMNS),
    group_rows=st.integers(1, 50),
    dictionary=st.booleans(),
)
@hypothesis.settings(max_examples=8, deadline=None)
def test_parquet(tmp_path_factory, rows, columns, group_rows, dictionary):
    folder = tmp_path_factory.mktemp("parquet")
    table = {
        name: [str(row[name]) if name == "user" else row[name] for row in rows] for name in columns
    }
    table["price"] = pa.array(table["price"], pa.float32())
    parquet.write_table(
        pa.table(table), folder / "NL.parquet", row_group_size=group_rows, use_dictionary=dictionary
    )
    known, schema = _schema([row["word"] for row in rows])
    (folder / "s.toml").write_text(schema)
    convert.convert(
        "parquet", folder / "NL.parquet", folder / "data", schema_path=folder / "s.toml"
    )
    _check(folder, rows, known, "NL")


def test_values_read_the_same_beside_a_bad_row(tmp_path):
    # A bad row makes its whole block be read record by record: the other rows must not change by
    # that.
    good = [
        "user,word,price,click,buy",
        *(f'{10**17 + i}," w{i % 5}",{i / 7:.7f},{i % 2},0' for i in range(200)),
    ]
    bad = [*good[:50], '1,"open,0,0,0', *good[50:]]
    _, schema = _schema([" w1", " w2"])
    (tmp_path / "s.toml").write_text(schema)
    found = []
    for name, lines in (("good", good), ("bad", bad)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "NL.csv").write_text("\n".join(lines) + "\n")
        convert.convert(
            "csv",
            folder / "NL.csv",
            folder / "data",
            schema_path=tmp_path / "s.toml",
            on_bad_row="skip",
        )
        rows = [
            rows_back.read_back(dataset.Dataset.open(folder / "data"), "NL", split)
            for split in ("train", "valid", "test")
        ]
        found.append({key: np.concatenate([part[key] for part in rows]) for key in rows[0]})
    one, other = (np.argsort(rows["group"]) for rows in found)
    for key in ("categorical", "numerical", "labels", "group"):
        np.testing.assert_array_equal(found[0][key][one], found[1][key][other])
