"""What is checked of the answers of a loaded version.

Each function returns what it found, in words, or raises PfrecError.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from export import interface
from export.checks import fresh_process
from export.graph import requests as requests_lib
from pfrec import errors

# Between a trained model and its export: two compilations of the same float32 graph; folding adds
# in another order.
TOLERANCE = 1e-6
FOLDED_TOLERANCE = 1e-5
# Rows whose trained probabilities differ by less than this, some 16 steps of float32 near 1, are
# equals to a ranking.
RANKING_RESOLUTION = 1e-6


@dataclasses.dataclass(frozen=True)
class Case:
    """A request and the probabilities that the trained model gives it, float32 [rows] per task."""

    request: requests_lib.Request
    expected: Mapping[str, np.ndarray]


def probabilities(
    requests: Sequence[requests_lib.Request], answers: Sequence[fresh_process.Answer]
) -> str:
    """That `serving_default` answers each request with a probability per row and task."""
    lowest, highest = np.inf, -np.inf
    for request, answer in zip(requests, answers):
        count = requests_lib.rows(request)
        _require_answer(answer, count)
        for task, values in answer.outputs.items():
            lowest, highest = (
                min(lowest, values.min(initial=np.inf)),
                max(highest, values.max(initial=-np.inf)),
            )
            _require_probabilities(task, values, (count,))
    sizes = ", ".join(str(requests_lib.rows(request)) for request in requests)
    return f"{sizes} rows: probabilities {lowest:.3g} to {highest:.3g}"


def agreement(
    served: interface.Interface,
    named: Sequence[fresh_process.Answer],
    others: "Mapping[str, Sequence[fresh_process.Answer]]",
    counts: Sequence[int],
) -> str:
    """That classify and regress answer tf.Example with the probabilities that `serving_default`
    gives the same rows.
    """
    for number, (count, first) in enumerate(zip(counts, named)):
        _require_answer(first, count)
        for name, answers in others.items():
            answer = answers[number]
            try:
                _require_answer(answer, count)
                found = answer.outputs
                if name == interface.CLASSIFY:
                    if (
                        found[interface.CLASSES].tolist()
                        != [[task.encode() for task in served.tasks()]] * count
                    ):
                        raise errors.PfrecError("the classes are not the tasks in their order")
                    expected = np.stack([first.outputs[task] for task in served.tasks()], axis=1)
                    _require_probabilities(
                        interface.SCORES, found[interface.SCORES], expected.shape
                    )
                    difference = np.abs(found[interface.SCORES] - expected).max(initial=0.0)
                else:
                    values = found[interface.REGRESSED]
                    _require_probabilities(interface.REGRESSED, values, (count,))
                    difference = np.abs(values - first.outputs[served.regressions()[name]]).max(
                        initial=0.0
                    )
            except errors.PfrecError as error:
                raise errors.PfrecError(f"{name}: {error}") from error
            if difference > TOLERANCE:
                raise errors.PfrecError(
                    f"{name} differs by {difference:.3g} from {interface.SERVE} on the same "
                    f"{count} rows"
                )
    return (
        f"{', '.join(others)} answer as {interface.SERVE} does, at "
        f"{', '.join(map(str, counts))} rows"
    )


def largest_difference(cases: Sequence[Case], answers: Sequence[fresh_process.Answer]) -> float:
    """The largest absolute difference of any probability from the expected one.

    Raises:
      PfrecError: where a call was refused, or an answer has another shape.
    """
    largest = 0.0
    for case, answer in zip(cases, answers):
        if answer.error is not None:
            raise errors.PfrecError(f"a request was refused: {short(answer.error)}")
        for task, expected in case.expected.items():
            found = answer.outputs[task]
            if found.shape != expected.shape:
                raise errors.PfrecError(
                    f"{task} has shape {list(found.shape)} where the model gives "
                    f"{list(expected.shape)}"
                )
            # NaN on either side must not pass for a small difference.
            difference = float(np.max(np.abs(found.astype(np.float64) - expected), initial=0.0))
            largest = max(largest, difference if np.isfinite(difference) else np.inf)
    return largest


def parity(cases: Sequence[Case], answers: Sequence[fresh_process.Answer], tolerance: float) -> str:
    """That no probability is further than `tolerance` from the trained model's."""
    largest = largest_difference(cases, answers)
    count = sum(len(next(iter(case.expected.values()))) for case in cases)
    detail = f"largest difference to the trained model {largest:.3g} over {count} rows"
    if largest > tolerance:
        raise errors.PfrecError(f"{detail}, above {tolerance:g}")
    return detail


def inversions(expected: np.ndarray, found: np.ndarray, resolution: float = 0.0) -> int:
    """Pairs of rows that two scorings put in opposite order,
    where the first tells them apart by more than `resolution`.
    """
    gap = expected.astype(np.float64)[:, np.newaxis] - expected[np.newaxis]
    return int(np.count_nonzero((gap > resolution) & (found[:, np.newaxis] < found[np.newaxis])))


def ranking(case: Case, answer: fresh_process.Answer) -> str:
    """That the export ranks rows as the trained model does."""
    if answer.error is not None:
        raise errors.PfrecError(f"a request was refused: {short(answer.error)}")
    near = 0
    for task, expected in case.expected.items():
        wrong = inversions(expected, answer.outputs[task], RANKING_RESOLUTION)
        if wrong:
            raise errors.PfrecError(
                f"{task}: {wrong} pairs of rows in the opposite order to the trained model's"
            )
        near += inversions(expected, answer.outputs[task])
    count = requests_lib.rows(case.request)
    ties = f"; {near} pairs nearer than {RANKING_RESOLUTION:g} changed places" if near else ""
    return f"{count} rows in the trained model's order for every task{ties}"


def refused(answers: Mapping[str, fresh_process.Answer], words: Mapping[str, str]) -> str:
    """That requests which must be errors are,
    each with a message that holds the words which help.
    """
    for name, answer in answers.items():
        if answer.error is None:
            raise errors.PfrecError(f"{name}: was answered, and has to be an error")
        if words[name] not in answer.error:
            raise errors.PfrecError(
                f"{name}: refused without saying {words[name]!r}: {short(answer.error)}"
            )
    return f"refused with a message that says why: {', '.join(answers)}"


def short(text: str) -> str:
    """The text in one line of at most 200 characters."""
    return " ".join(text.split())[:200]


def _require_answer(answer: fresh_process.Answer, count: int) -> None:
    if answer.error is not None:
        raise errors.PfrecError(f"a request of {count} rows was refused: {short(answer.error)}")


def _require_probabilities(name: str, values: np.ndarray, shape: "tuple[int, ...]") -> None:
    if values.shape != shape:
        raise errors.PfrecError(
            f"{name} has shape {list(values.shape)} where {list(shape)} belongs"
        )
    if not (np.isfinite(values).all() and (values >= 0).all() and (values <= 1).all()):
        raise errors.PfrecError(
            f"{name} holds values that are no probability, in a request of {shape[0]} rows"
        )
