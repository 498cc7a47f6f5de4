"""What a silo lets be said with its values: every value has a label,
and these tables are the whole grammar.

A driver composes a round of values that it sends, of private states that it never sees, and of the
silo's own computations. Whatever it asks for is either in these tables or refused, so that what may
leave follows from them alone: `LEAVES` names the labels that are answered, and a private state or
the silo's secret has no way to one of those but through the silo's own `train` and `evaluate`:
what `write`, `read` and `train_at_home` acknowledge is the same whatever a private state holds.
"""

from collections.abc import Mapping, Sequence

# Values from the driver, by what they are for.
SHARED, PERSONAL, FIRST_VALUES = "shared values", "personal values", "first values"
ONE_SPREAD, SPREADS = "one spread", "spreads"
CLIENT_ID, SERVES, WORK = "client number", "tasks served", "work"
TRAINING_SHARDS, EVALUATION_SHARDS = "shards to train on", "shards to evaluate"
# Names of what is in the silo's directory, and texts that are left there.
FACTS_NAME, SECRET_NAME = "name of the facts", "name of the secret"
VERSION, SHARED_VERSION = "name of a version", "name of shared values"
KEEP_NAME, REFUSAL_NAME, CLIENT_NAME = (
    "name of keep.json",
    "name of a refusal",
    "name of client.json",
)
KEEP, REFUSAL, CLIENT = "what to keep", "a refusal", "what a model is of"
CONTINUE_NAME, CONTINUE = "name of continue.json", "what to go on from"
# Values that the silo's computations make.
PRIVATE, SECRET, TRAINED, READ = "private", "secret", "training result", "what was read"
AT_HOME = "result of training at home"
REPORT, COUNTS, METRICS = "report", "row counts", "metrics"
SPREADS_METRICS = "spreads' metrics"
ACKNOWLEDGEMENT, FACTS = "acknowledgement", "facts"
# Structures of all these.
TRAINING_CLIENT, TRAINING = "client to train", "argument of training"
EVALUATION_CLIENT, EVALUATION = "client to evaluate", "argument of evaluation"
SPREADS_CLIENT, SPREADS_EVALUATION = (
    "client to evaluate at several spreads",
    "argument of evaluation at several spreads",
)
WRITING, WRITING_RECEIVED, NOTING = (
    "argument of writing",
    "argument of writing shared values",
    "argument of a note",
)

LEAVES = frozenset({REPORT, COUNTS, METRICS, SPREADS_METRICS, ACKNOWLEDGEMENT, FACTS})

# The parts of each structure, in order; one label may have several forms.
STRUCTS: "tuple[tuple[str, tuple[tuple[str, str], ...]], ...]" = (
    (
        TRAINING_CLIENT,
        (
            ("client_id", CLIENT_ID),
            ("private", PRIVATE),
            ("secret", SECRET),
            ("work", WORK),
            ("serves", SERVES),
        ),
    ),
    (TRAINING, (("shared", SHARED), ("personal", PERSONAL), ("client", TRAINING_CLIENT))),
    (
        EVALUATION_CLIENT,
        (("client_id", CLIENT_ID), ("private", PRIVATE), ("shards", EVALUATION_SHARDS)),
    ),
    *(
        (
            label,
            (
                ("client_id", CLIENT_ID),
                ("private", PRIVATE),
                ("shards", EVALUATION_SHARDS),
                ("serves", SERVES),
                ("spreads", spreads),
            ),
        )
        for label, spreads in ((EVALUATION_CLIENT, ONE_SPREAD), (SPREADS_CLIENT, SPREADS))
    ),
    (EVALUATION, (("shared", SHARED), ("personal", PERSONAL), ("client", EVALUATION_CLIENT))),
    (SPREADS_EVALUATION, (("shared", SHARED), ("personal", PERSONAL), ("client", SPREADS_CLIENT))),
    (WRITING, (("private", PRIVATE), ("directory", VERSION))),
    (WRITING_RECEIVED, (("shared", SHARED), ("personal", PERSONAL), ("directory", SHARED_VERSION))),
    (NOTING, (("path", KEEP_NAME), ("text", KEEP))),
    (NOTING, (("path", REFUSAL_NAME), ("text", REFUSAL))),
    (NOTING, (("path", CLIENT_NAME), ("text", CLIENT))),
    (NOTING, (("path", CONTINUE_NAME), ("text", CONTINUE))),
)

# The result's label by the argument's, of each computation.
CALLS: "Mapping[str, Mapping[str, str]]" = {
    "train": {TRAINING: TRAINED},
    "train_at_home": {TRAINING_CLIENT: AT_HOME},
    "evaluate": {EVALUATION: METRICS, SPREADS_EVALUATION: SPREADS_METRICS},
    "count": {TRAINING_SHARDS: COUNTS},
    "write": {WRITING: ACKNOWLEDGEMENT},
    "write_received": {WRITING_RECEIVED: ACKNOWLEDGEMENT},
    "read": {VERSION: READ},
    "start": {FIRST_VALUES: PRIVATE},
    "note": {NOTING: ACKNOWLEDGEMENT},
    "secret": {SECRET_NAME: SECRET},
    "facts": {FACTS_NAME: FACTS},
}

ELEMENTS: "Mapping[str, tuple[str, ...]]" = {
    TRAINED: (PRIVATE, REPORT),
    AT_HOME: (PRIVATE, ACKNOWLEDGEMENT),
    READ: (PRIVATE, ACKNOWLEDGEMENT),
}


class RefusedError(Exception):
    """Something that a driver may not do;
    the message is one clause that tells nothing of the silo's values.
    """


def struct(parts: "Sequence[tuple[str, str]]") -> str:
    """The label of a structure of named, labelled parts.

    Raises:
      RefusedError: where it is none that a computation takes.
    """
    for label, form in STRUCTS:
        if tuple(parts) == form:
            return label
    told = ", ".join(f"{name[:40]!r}: {label}" for name, label in parts[:8])
    raise RefusedError(f"no computation takes a structure of {told or 'nothing'}")


def call(name: str, argument: str) -> str:
    """The label of what a computation makes of a labelled argument.

    Raises:
      RefusedError: where there is no such computation or it takes something else.
    """
    if name not in CALLS:
        raise RefusedError(f"this silo has no computation {name[:40]!r}; it has {', '.join(CALLS)}")
    takes = CALLS[name]
    if argument not in takes:
        raise RefusedError(f"{name} takes {' or '.join(takes)}, not {argument}")
    return takes[argument]


def select(label: str, index: int) -> str:
    """The label of an element of a labelled structure.

    Raises:
      RefusedError: where nothing may be taken out of it.
    """
    elements = ELEMENTS.get(label, ())
    if not 0 <= index < len(elements):
        raise RefusedError(f"{label}: there is no element {index} to select")
    return elements[index]


def require_leaving(label: str) -> None:
    """Checks that a value may leave.

    Raises:
      RefusedError: where it may not.
    """
    if label not in LEAVES:
        raise RefusedError(f"{label}: does not leave this silo")
