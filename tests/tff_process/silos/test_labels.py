import pytest

from tff_process.silos import labels


def reachable(start, without=()):
    """All labels that a driver can make of a label."""
    found, waiting = set(), {start}
    while waiting:
        label = waiting.pop()
        found.add(label)
        following = {
            name for name, form in labels.STRUCTS if any(part == label for _, part in form)
        }
        following |= {
            takes[label]
            for name, takes in labels.CALLS.items()
            if label in takes and name not in without
        }
        following |= set(labels.ELEMENTS.get(label, ()))
        waiting |= following - found
    return found


@pytest.mark.parametrize("start", [labels.PRIVATE, labels.SECRET])
def test_what_is_private_leaves_by_the_silos_own_training_and_evaluation_alone(start):
    # `write` answers with the length of the file's index, which its names and shapes alone decide,
    # and `train_at_home` with 0.
    said = ("write", "train_at_home")
    assert not reachable(start, without=("train", "evaluate", *said)) & labels.LEAVES
    assert labels.REPORT in reachable(start)


def test_the_secret_is_an_argument_of_training_alone():
    training = ("train", "train_at_home")
    assert not reachable(labels.SECRET, without=training) & {*labels.LEAVES, labels.PRIVATE}


def test_nothing_leaves_that_a_driver_sent_and_no_computation_made():
    made = {result for takes in labels.CALLS.values() for result in takes.values()} | {
        part for parts in labels.ELEMENTS.values() for part in parts
    }
    assert made >= labels.LEAVES
    assert not {label for takes in labels.CALLS.values() for label in takes} & labels.LEAVES


def test_forms_are_of_labels_that_exist_and_told_apart():
    forms = [form for _, form in labels.STRUCTS]
    assert len(set(forms)) == len(forms)
    known = {value for value in vars(labels).values() if isinstance(value, str)}
    assert {part for form in forms for _, part in form} <= known
    assert (
        labels.struct([("private", labels.PRIVATE), ("directory", labels.VERSION)])
        == labels.WRITING
    )
    with pytest.raises(
        labels.RefusedError,
        match=(
            "no computation takes a structure of 'directory': name of a version, 'private': private"
        ),
    ):
        labels.struct([("directory", labels.VERSION), ("private", labels.PRIVATE)])
    with pytest.raises(labels.RefusedError, match="this silo has no computation 'noter'"):
        labels.call("noter", labels.NOTING)
