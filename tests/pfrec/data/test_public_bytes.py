"""The public layouts convert to the same bytes from release to release: rows, their order, ids and
schemas. Where a digest here has to change, every dataset and model made before is of other rows.
"""

import hashlib
import os
import pathlib

import pytest

from pfrec.commands import convert
from tests.pfrec.data import raw_layouts

_HERE = pathlib.Path(__file__).resolve().parents[3]
_DATA = pathlib.Path(os.environ.get("PFREC_DATA", _HERE / ".." / "shared" / "data"))


def _aliexpress_raw(folder):
    for country, seed in (("NL", 0), ("FR", 1)):
        raw_layouts.write_aliexpress(folder, country, raw_layouts.aliexpress(seed))
    return folder


def _tenrec(folder):
    folder.mkdir()
    for name in ("QK-video", "QB-video"):
        rows = raw_layouts.tenrec(name)
        (folder / f"{name}.csv").write_bytes(raw_layouts.table(list(rows[0]), rows))
    return folder


def _ali_ccp(folder):
    return raw_layouts.write_ali_ccp(folder, *raw_layouts.ali_ccp())


def _movielens(folder):
    return raw_layouts.write_movielens_1m(folder)[0]


MADE = {
    "aliexpress_raw": (_aliexpress_raw, {}),
    "tenrec": (_tenrec, {}),
    "ali_ccp": (_ali_ccp, {"min_count": 40}),
    "kuairand": (raw_layouts.write_kuairand, {"missing_numerical": "impute"}),
    "movielens": (_movielens, {}),
}
REAL = {
    "aliexpress": ("AliExpress_US", {}),
    "kuairand": ("kuairand/kuairand_sample.csv", {}),
    "movielens": ("movielens-100k", {}),
}
# As of the release whose stored order of rows is the present one.
EXPECTED = {
    "made aliexpress_raw": "f487d696109635468d3faf11126acd373af3f0ded21eeb7816e4bf57781445a7",
    "made tenrec": "fc1488e353d0eef972e9f3e2a2f792d81a97f067b359d5d426c70a0990e6b780",
    "made ali_ccp": "df45425d17a63367cac588a8788b0a1fda601af5b8015788ba2259bfa50bff0e",
    "made kuairand": "449061e5a8defab9d8072c080a1760d35e630264494cb84e1ff598557ebd1db8",
    "made movielens": "0f0a27bf610f56ceea806640345b2972a622338e84a05a52fc8139d0116586ed",
    "real aliexpress": "4a58a6cace099b729243543169d07161f7aaaa1553015e14a1d520ecaf789d59",
    "real kuairand": "17fd9bcd313a61184ff3673c760c5065fc1e0e2836c82d5550d314d1c20eef53",
    "real movielens": "83196643a8749bbfe9d90dbc463068751ea03caa4cfe9b70b4789c7142be6176",
}


def digest(data):
    """Of all files of a dataset but `dataset.json`, which tells more from release to release."""
    whole = hashlib.sha256()
    for path in sorted(path for path in data.rglob("*") if path.is_file()):
        if path.name != "dataset.json":
            whole.update(path.relative_to(data).as_posix().encode() + b"\0")
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


@pytest.mark.parametrize("name", list(MADE))
def test_made_files_in_the_public_layouts(name, tmp_path):
    make, options = MADE[name]
    convert.convert(name, make(tmp_path / "raw"), tmp_path / "data", **options)
    assert digest(tmp_path / "data") == EXPECTED[f"made {name}"]


@pytest.mark.skipif(not _DATA.is_dir(), reason=f"{_DATA} is absent")
@pytest.mark.parametrize("name", list(REAL))
def test_real_files(name, tmp_path):
    place, options = REAL[name]
    convert.convert(name, _DATA / place, tmp_path / "data", **options)
    assert digest(tmp_path / "data") == EXPECTED[f"real {name}"]
