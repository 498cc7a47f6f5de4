"""Names that become directories: what is none is refused wherever it comes from."""

import pytest

from pfrec import errors, names


@pytest.mark.parametrize("name", ["NL", "nl-1", "_x", "1.2", "a" * 100, "scratch", "data"])
def test_what_can_be_a_directory_is_a_name(name):
    assert names.require(name, place="p") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".tmp-x",
        "-x",
        "a/b",
        "/etc",
        "é",
        "a b",
        "a\n",
        "a" * 101,
        7,
        None,
        "dataset.json",
        "conversion.json",
        "quarantine.jsonl",
    ],
)
def test_what_cannot_is_told_with_its_place(name):
    with pytest.raises(errors.PfrecError, match=r"^p: scenario .* cannot be a directory's name"):
        names.require(name, place="p")
