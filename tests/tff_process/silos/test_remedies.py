import pytest

from tff_process.silos import remedies

# As TensorFlow 2.14 and pfrec's ledger say them.
FULL = (
    "Calls: the worker failed: INTERNAL: Failed to run computation: runs/26de/version_00004/"
    "state.data-00000-of-00001.tempstate1055; No space left on device [[{{node SaveV2}}]]"
)
LEDGER = "Calls: refused: /srv/nl/ledger.jsonl: No space left on device; free space or choose"
CHANGED = (
    "Calls: the worker failed: INTERNAL: Failed to run computation: "
    "data/nl/train-00000-of-00001.tfrecord; Permission denied [[{{node IteratorGetNext}}]]"
)
GONE = CHANGED.replace("Permission denied", "No such file or directory")


@pytest.mark.parametrize(
    ("line", "words"),
    [(FULL, "free some"), (LEDGER, "free some"), (CHANGED, "start it again"), (GONE, "start it")],
)
def test_the_owner_is_told_what_to_do_and_nothing_of_what_failed(line, words):
    logged, told = [], []
    remedies.telling(logged.append, told.append)(line)
    assert logged == [line]
    (said,) = told
    assert words in said
    assert not any(part in said for part in ("tfrecord", "version_", "/srv"))


def test_the_same_is_told_once_a_minute_and_another_at_once():
    now, logged, told = [0.0], [], []
    say = remedies.telling(logged.append, told.append, lambda: now[0])
    for now[0], line in ((0.0, FULL), (59.0, LEDGER), (59.0, CHANGED), (60.0, FULL)):
        say(line)
    assert len(logged) == 4
    assert [("disk" in line) for line in told] == [True, False, True]


def test_other_failures_and_refusals_stay_in_the_log():
    told = []
    say = remedies.telling([].append, told.append)
    say("Calls: the worker failed: INTERNAL: Failed to run computation: label 7 in row 3")
    say("CreateCall: refused: a computation that is not the silo's own")
    assert not told
