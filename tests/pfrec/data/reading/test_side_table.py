import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from pfrec.data.reading import side_table


@hypothesis.given(
    keys=st.lists(st.integers(-5, 40), max_size=60),
    asked=st.lists(st.integers(-8, 45), max_size=60),
    chunk=st.integers(1, 20),
)
@hypothesis.settings(max_examples=60, deadline=None)
def test_finds_what_a_dict_finds(tmp_path_factory, keys, asked, chunk):
    table = side_table.SideTable(tmp_path_factory.mktemp("side") / "t", ["n"], ["w"])
    words = [None if key % 7 == 0 else f"w{key % 5}" for key in keys]
    numbers = np.arange(len(keys)) / 3
    for start in range(0, len(keys), chunk):
        part = slice(start, start + chunk)
        table.add(
            np.array(keys[part], np.int64),
            {"n": numbers[part], "w": pa.array(words[part], pa.string())},
        )
    table.freeze()
    expected: dict[int, int] = {}
    for place, key in enumerate(keys):
        expected.setdefault(key, place)
    found = table.find(np.array(asked, np.int64))
    assert found.tolist() == [expected.get(key, -1) for key in asked]
    assert table.repeated.tolist() == [
        place for place, key in enumerate(keys) if expected[key] != place
    ]
    columns = table.columns(found[found >= 0])
    assert columns["n"].tolist() == numbers[found[found >= 0]].astype(np.float32).tolist()
    assert columns["w"].to_pylist() == [words[place] for place in found if place >= 0]
    assert table.distinct("w") == [word for word in dict.fromkeys(words) if word is not None]


@pytest.mark.parametrize("key", [b"a", b"ab" * 16])
def test_keys_may_be_bytes(tmp_path, key):
    table = side_table.SideTable(tmp_path / "t", ["n"], [])
    table.add(np.array([b"zz", key], "S32"), {"n": np.array([1.0, 2.0])})
    table.freeze()
    assert table.find(np.array([key, b"zz", b"none"], "S32")).tolist() == [1, 0, -1]
    assert table.columns(np.array([1]))["n"].tolist() == [2.0]
