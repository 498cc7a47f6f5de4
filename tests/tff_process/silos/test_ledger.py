import json
import resource

import pytest

from pfrec import errors, files
from tests.integration import commands
from tff_process.commands import ledger as ledger_command
from tff_process.silos import labels, ledger


@pytest.fixture
def path(tmp_path):
    """A ledger of a training, a report and a metric."""
    book = ledger.Ledger(tmp_path / ledger.FILE)
    book.append(ledger.TRAINING, "a" * 64, training="0123456789abcdef")
    book.append(
        labels.REPORT,
        "a" * 64,
        [ledger.Leaf("table", (3, 2), 24), ledger.Leaf("loss", (), 4)],
        b"message",
        work=[0, 5],
    )
    book.append(labels.METRICS, "a" * 64, [ledger.Leaf("metrics", (2, 6), 96)], b"more")
    book.close()
    return tmp_path / ledger.FILE


def manifest(*uploads):
    named = [{"what": what, "shape": shape, "bytes": size} for what, shape, size in uploads]
    return {
        **{"uploads": [{**item, "group": ""} for item in named], "uploads_once": []},
        **{"downloads": [], "kept_copies": [], "never_leaves": [], "groups": []},
        **{"aggregations_per_round": 1, "upload_bytes": 0, "download_bytes": 0},
    }


def test_entries_are_read_back_and_go_on(path):
    entries, last = ledger.read(path)
    assert [entry["what"] for entry in entries] == [ledger.TRAINING, labels.REPORT, labels.METRICS]
    # The digest of an independent tool: sha256sum of the seven letters.
    assert (
        entries[1]["sha256"] == "ab530a13e45914982b79f9b7e3fba994cfd1f3fb22f71cea1afbf02b460c6d1d"
    )
    book = ledger.Ledger(path)
    assert book.append(labels.FACTS, "a" * 64)["before"] == last
    assert len(ledger.read(path)[0]) == 4
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:1] + lines[2:],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [lines[0], lines[1].replace(b'"table"', b'"other"'), lines[2]],
        lambda lines: [lines[0], lines[1].replace(b":", b": ", 1), lines[2]],
        lambda lines: [*lines, lines[2]],
        lambda lines: lines[1:],
        lambda lines: [*lines, b"[]\n"],
        lambda lines: [*lines, b"not json\n"],
    ],
)
def test_a_changed_line_breaks_the_chain(path, change):
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    for read in (ledger.read, ledger.Ledger):
        with pytest.raises(errors.PfrecError, match="does not follow from the lines before it"):
            read(path)


def test_a_torn_last_line_is_told_and_taken_out(path):
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"agreement":"aa')
    with pytest.raises(errors.PfrecError, match="its last line is torn"):
        ledger.read(path)
    ledger.Ledger(path)
    assert path.read_bytes() == whole


def test_a_full_disk_leaves_a_whole_chain(path, monkeypatch):
    book = ledger.Ledger(path)
    monkeypatch.setattr(
        ledger,
        "_sync",
        lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    with pytest.raises(errors.PfrecError, match="No space left"):
        book.append(labels.REPORT, "a" * 64)
    monkeypatch.undo()
    book.append(labels.REPORT, "a" * 64)
    assert [entry["number"] for entry in ledger.read(path)[0]] == [0, 1, 2, 3]


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_line_that_the_disk_takes_a_part_of_is_none(path, room):
    before = path.read_bytes()
    book = ledger.Ledger(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file's largest size, as a full disk, lets through what fits of a write.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, hard))
    try:
        with pytest.raises(errors.PfrecError, match=ledger.FILE):
            book.append(labels.METRICS, "a" * 64, [], b"lost")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    book.append(labels.METRICS, "a" * 64, [], b"kept")
    book.close()
    assert [entry["number"] for entry in ledger.read(path)[0]] == [0, 1, 2, 3]


def test_it_is_compared_with_a_manifest(path):
    entries, _ = ledger.read(path)
    metrics = ("metrics", [2, 6], 96)
    assert not ledger.differences(
        entries, manifest(("table", [3, 2], 24), ("loss", [], 4), metrics)
    )
    assert ledger.differences(entries, manifest(("loss", [], 4), metrics)) == [
        "entry 1: table left, and the manifest does not name it"
    ]
    (found,) = ledger.differences(
        entries, manifest(("table", [4, 2], 32), ("loss", [], 4), metrics)
    )
    assert (
        found
        == "entry 1: table left with shape [3, 2] and 24 bytes, the manifest says [4, 2] and 32"
    )
    assert not ledger.differences(entries, manifest(), agreement="b" * 64)


def test_what_leaves_once_is_compared_too(path):
    book = ledger.Ledger(path)
    book.append(labels.COUNTS, "c" * 64, [ledger.Leaf("row_counts/item", (9,), 36)])
    book.append(labels.SPREADS_METRICS, "c" * 64, [ledger.Leaf("spreads_metrics", (6,), 48)])
    # Facts and what is said of writing are of no row, and in no manifest.
    book.append(labels.FACTS, "c" * 64, [ledger.Leaf("silo.json", (), 9)])
    book.close()
    entries, _ = ledger.read(path)
    assert [told.split(":")[0] for told in ledger.differences(entries, manifest())] == [
        "entry 3",
        "entry 4",
    ]
    once = {"what": "row_counts/item", "shape": [9], "bytes": 36, "group": ""}
    told = {**manifest(("spreads_metrics", [6], 48)), "uploads_once": [once]}
    assert not ledger.differences(entries, told)


def test_what_is_noted_and_stays_is_printed_as_to_nobody(path):
    book = ledger.Ledger(path)
    book.append(ledger.STATE, "a" * 64, state="0123456789abcdef/version_00001", origin="cc" * 32)
    book.close()
    line = ledger_command._line(ledger.read(path)[0][-1])
    assert line.endswith("state            0123456789abcdef/version_00001: stays, noted alone")


def test_the_command_prints_verifies_and_compares(path, tmp_path):
    out = commands.succeed("pfrec-ledger", f"--client_dir={tmp_path}", "--entries")
    assert "3 entries, the chain is whole" in out
    assert "table, loss" in out
    files.write_json(tmp_path / "manifest.json", manifest(("table", [3, 2], 24)))
    error = commands.fail(
        "pfrec-ledger", f"--client_dir={tmp_path}", f"--manifest={tmp_path / 'manifest.json'}"
    )
    assert "2 differences" in error
    path.write_bytes(path.read_bytes().replace(b"table", b"other"))
    assert "line 3 does not follow" in commands.fail("pfrec-ledger", f"--client_dir={tmp_path}")
    assert json.loads(path.read_bytes().splitlines()[1])["leaves"][0][0] == "other"
