"""What the checks of a running model server share, whichever protocol it is asked by: what it has
to give, and what it has to refuse.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from export import interface
from export.checks import fresh_process, malformed, saved_graph
from export.graph import requests
from export.version import manifest, warmup
from pfrec import errors

# The server is another build of TensorFlow, perhaps on a GPU: sums are taken in another order than
# here.
TOLERANCE = 1e-4


class UnreachableError(Exception):
    """No server answers. Not a check that failed: there is nothing to check."""


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a server of a version has to give.

    Attributes:
      model, version: of the served model; the version is None where the directory's name is no
        number.
      served: its interface.
      replays: the warm-up requests.
      answers: of the version's files here to them.
    """

    model: str
    version: Optional[int]
    served: interface.Interface
    replays: "list[warmup.Replay]"
    answers: "list[fresh_process.Answer]"


def expected(directory: pathlib.Path) -> Expected:
    """Reads a version, and answers its warm-up requests here.

    Args:
      directory: of a version that passed `version_checks.verify`.

    Raises:
      PfrecError: where it cannot be read.
    """
    value = manifest.read(directory)
    served = manifest.served_by(value, place=str(directory / manifest.FILE))
    names = saved_graph.read(directory, served).names
    replays = warmup.read(directory)
    answers = fresh_process.run(
        directory,
        [fresh_process.Call(names[replay.signature], replay.inputs) for replay in replays],
    )
    number = int(directory.name) if directory.name.isdecimal() else None
    return Expected(value["model"], number, served, replays, answers)


def errors_expected(served: interface.Interface) -> "list[malformed.Malformed]":
    """Requests that a server must refuse by either protocol: malformed ones, wrong,
    missing and strange inputs.
    """
    request = requests.random(served, 3, seed=0)
    first = next(iter(request))
    lacking = {name: values for name, values in request.items() if name != first}
    other = requests.texts([b"a"] * 3) if request[first].dtype != object else np.ones(3, np.float32)
    found = [
        malformed.Malformed("an input missing", interface.SERVE, lacking, ""),
        malformed.Malformed(
            "an input too many", interface.SERVE, {**request, "no_such_input": request[first]}, ""
        ),
        malformed.Malformed(
            "an input of another name",
            interface.SERVE,
            {**lacking, "no_such_input": request[first]},
            "",
        ),
        malformed.Malformed(
            "an input of another type", interface.SERVE, {**request, first: other}, ""
        ),
        malformed.Malformed("a signature that is not there", "no_such_signature", request, ""),
    ]
    return [case for case in (*found, *malformed.malformed(served)) if case.inputs]


def require_equal(found: Mapping[str, Any], mine: fresh_process.Answer, what: str) -> float:
    """The largest difference between a server's outputs and the files'.

    Raises:
      PfrecError: where an output is missing, has another shape or other classes, or is too far
        away.
    """
    largest = 0.0
    for name, values in mine.outputs.items():
        if name not in found:
            raise errors.PfrecError(f"{what}: gives no output {name}")
        theirs = np.asarray(found[name])
        if theirs.shape != values.shape:
            raise errors.PfrecError(
                f"{what}: {name} has shape {list(theirs.shape)} where the files give "
                f"{list(values.shape)}"
            )
        if values.dtype == object:
            if theirs.tolist() != values.tolist():
                raise errors.PfrecError(f"{what}: {name} is not as in the files")
            continue
        difference = float(np.max(np.abs(theirs.astype(np.float64) - values), initial=0.0))
        largest = max(largest, difference if np.isfinite(difference) else np.inf)
    if largest > TOLERANCE:
        raise errors.PfrecError(
            f"{what}: differs by {largest:.3g} from the files here, above {TOLERANCE:g}"
        )
    return largest


def require_signatures(
    found: Mapping[str, interface.Signature], served: interface.Interface
) -> str:
    """That a server describes the signatures of the schema."""
    wanted = served.signatures()
    for name in sorted({*wanted, *found}):
        if found.get(name) != wanted.get(name):
            raise errors.PfrecError(
                f"signature {name!r} is {found.get(name, 'absent')} where the schema says "
                f"{wanted.get(name, 'absent')}"
            )
    return f"{', '.join(sorted(wanted))} as in the schema"


def require_refusals(outcomes: "Sequence[tuple[str, Optional[str]]]") -> str:
    """That every one of some requests was refused: each outcome is what was asked,
    and the refusal or None.
    """
    answered = [name for name, refusal in outcomes if refusal is None]
    if answered:
        raise errors.PfrecError(f"answered, and has to be an error: {', '.join(answered)}")
    return f"{len(outcomes)} requests refused: {', '.join(name for name, _ in outcomes)}"
