"""The checks of one version of a model, as a list of named results."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional, Union

import numpy as np

from export import interface
from export.checks import answers as answers_lib
from export.checks import fresh_process, malformed, onnx_file, saved_graph, written
from export.graph import onnx_graph
from export.graph import requests as requests_lib
from export.version import warmup
from pfrec import errors

BATCH_SIZES = (1, 32, 512)


@dataclasses.dataclass(frozen=True)
class Check:
    """One check: its name, whether it passed, and what was found."""

    name: str
    ok: bool
    detail: str


@dataclasses.dataclass(frozen=True)
class Report:
    """All checks of a version directory.

    Attributes:
      directory: of the version.
      checks: in order.
      latency_ms: median milliseconds of a repeated call of `serving_default` through the C library
        here, by batch size; empty where none was repeated.
      onnx_latency_ms: the same of its ONNX file in ONNX Runtime.
    """

    directory: pathlib.Path
    checks: "tuple[Check, ...]"
    latency_ms: "Mapping[int, float]" = dataclasses.field(default_factory=dict)
    onnx_latency_ms: "Mapping[int, float]" = dataclasses.field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    def require(self) -> None:
        """Does nothing where every check passed.

        Raises:
          PfrecError: naming the checks that failed.
        """
        failed = [f"{check.name}: {check.detail}" for check in self.checks if not check.ok]
        if failed:
            raise errors.PfrecError(f"{self.directory}: the export is refused; {'; '.join(failed)}")


class Checklist:
    """Checks as they are made."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def passed(self, name: str, body: Callable[[], Any]) -> Any:
        """Makes a check: the body's result is its detail, or detail and a value.

        Returns:
          The value, or True without one; None where the body raised PfrecError, which is a check
          that failed.

        Raises:
          UnaskedError: where the model could not be asked, which is no fault of its.
        """
        try:
            result = body()
        except fresh_process.UnaskedError:
            raise
        except errors.PfrecError as error:
            self.checks.append(Check(name, False, " ".join(str(error).split())))
            return None
        detail, value = result if isinstance(result, tuple) else (result, True)
        self.checks.append(Check(name, True, detail))
        return value


def verify(
    version: "Union[str, os.PathLike[str]]",
    cases: Sequence[answers_lib.Case] = (),
    repeats: "Optional[Mapping[int, int]]" = None,
) -> Report:
    """Checks one version.

        >>> import pfrec
        >>> report = pfrec.verify("serving/nl/1")
        >>> report.ok, [check.name for check in report.checks][:3]
        (True, ['manifest', 'files', 'graph'])

    Files that are not what the manifest says are not loaded: the checks that would load them are
    left out then.

    Args:
      version: its directory.
      cases: what the trained model answers, where that is known; the first one holds real rows.
      repeats: how often a request of one of `BATCH_SIZES` is made again, to be timed.

    Returns:
      The checks in order. Nothing is raised for a damaged version: that is a check that failed.

    Raises:
      PfrecError: where there is no room for the requests of the checks and their answers.
    """
    made, directory = Checklist(), pathlib.Path(version)
    held = made.passed("manifest", lambda: written.manifest(directory))
    if held is None or made.passed("files", lambda: written.files(directory, held[0])) is None:
        return Report(directory, tuple(made.checks))
    value, served = held
    latency: dict[int, float] = {}
    onnx_latency: dict[int, float] = {}
    graph = made.passed(
        "graph", lambda: ("saved_model.pb can be read", saved_graph.read(directory, served))
    )
    replays = made.passed("warm-up file", lambda: written.warmup(directory, value, served))
    if graph is not None:
        made.passed("paths", lambda: written.paths(graph))
        runs = made.passed("operations", lambda: written.operations(graph))
        made.passed("variables", lambda: written.variables(directory, value, graph))
        # A graph is a program: one that holds what no export has is not run.
        if (
            made.passed("signatures", lambda: written.signatures(served, graph)) is not None
            and runs is not None
        ):
            latency, given = _answers(
                made, directory, value, served, graph, replays or [], cases, repeats or {}
            )
            if value["made"].get("onnx"):
                known = [*cases, *_expected(value, replays or [])]
                onnx_latency = _onnx(made, directory, served, known, given, repeats or {})
    return Report(directory, tuple(made.checks), latency, onnx_latency)


def _answers(
    made: Checklist,
    directory: pathlib.Path,
    value: Mapping[str, Any],
    served: interface.Interface,
    graph: saved_graph.SavedGraph,
    replays: "list[warmup.Replay]",
    cases: Sequence[answers_lib.Case],
    repeats: Mapping[int, int],
) -> "tuple[dict[int, float], list[answers_lib.Case]]":
    """The checks that need the model loaded; all their calls are made in one process.

    Returns:
      `Report.latency_ms`, and what the version said to requests of `BATCH_SIZES` rows and to
      unknown values.
    """
    requests = [requests_lib.random(served, rows, seed=rows) for rows in BATCH_SIZES]
    hostile = [requests_lib.hostile(served)]
    examples: list[tuple[str, Mapping[str, np.ndarray]]] = [
        (name, {interface.EXAMPLES: requests_lib.examples(request)})
        for name in served.signatures()
        if name != interface.SERVE
        for request in (*requests, *hostile)
    ]
    wrong = malformed.malformed(served)
    groups: dict[str, list[tuple[str, Mapping[str, np.ndarray]]]] = {
        "sizes": [(interface.SERVE, request) for request in requests],
        "unknown": [(interface.SERVE, request) for request in hostile],
        "examples": examples,
        "warm-up": [(replay.signature, replay.inputs) for replay in replays],
        "malformed": [(request.signature, request.inputs) for request in wrong],
        "parity": [(interface.SERVE, case.request) for case in cases],
    }
    calls = [
        fresh_process.Call(
            graph.names[name],
            inputs,
            repeats.get(requests_lib.rows(inputs), 0) if of == "sizes" else 0,
        )
        for of, group in groups.items()
        for name, inputs in group
    ]
    answers = made.passed(
        "load",
        lambda: (
            f"loaded in a fresh process, {len(calls)} requests",
            fresh_process.run(directory, calls),
        ),
    )
    if answers is None:
        return {}, []
    waiting = iter(answers)
    given = {name: [next(waiting) for _ in group] for name, group in groups.items()}
    made.passed("batch sizes", lambda: answers_lib.probabilities(requests, given["sizes"]))
    made.passed("unknown values", lambda: answers_lib.probabilities(hostile, given["unknown"]))
    each = len(requests) + len(hostile)
    by_signature = {
        examples[i][0]: given["examples"][i : i + each] for i in range(0, len(examples), each)
    }
    counts = [requests_lib.rows(request) for request in (*requests, *hostile)]
    named = [*given["sizes"], *given["unknown"]]
    made.passed("tf.Example", lambda: answers_lib.agreement(served, named, by_signature, counts))
    if replays:
        made.passed("warm-up replay", lambda: _replayed(replays, given["warm-up"]))
        made.passed("recorded answers", lambda: _recorded(value, replays, given["warm-up"]))
    by_name = {request.name: answer for request, answer in zip(wrong, given["malformed"])}
    made.passed(
        "refusals",
        lambda: answers_lib.refused(by_name, {request.name: request.words for request in wrong}),
    )
    if cases:
        made.passed("parity", lambda: answers_lib.parity(cases, given["parity"], tolerance(value)))
        made.passed("ranking", lambda: answers_lib.ranking(cases[0], given["parity"][0]))
    said = zip((*requests, *hostile), named)
    return _medians(given["sizes"]), [answers_lib.Case(r, answer.outputs) for r, answer in said]


def _onnx(
    made: Checklist,
    directory: pathlib.Path,
    served: interface.Interface,
    known: "Sequence[answers_lib.Case]",
    given: "Sequence[answers_lib.Case]",
    repeats: Mapping[int, int],
) -> "dict[int, float]":
    """The checks of a version's ONNX file.

    Args:
      made: takes them.
      directory: of the version.
      served: its interface.
      known: what the trained model answers; the first is what is to be ranked alike.
      given: what the SavedModel answers.
      repeats: as of `verify`.

    Returns:
      `Report.onnx_latency_ms`.
    """
    content = made.passed("ONNX file", lambda: onnx_file.read(directory / onnx_graph.FILE, served))
    if content is None:
        return {}
    session = made.passed(
        "ONNX load",
        lambda: ("loaded in ONNX Runtime", onnx_file.Session(content, served)),
    )
    if session is None:
        return {}
    made.passed("ONNX answers", lambda: onnx_file.agreement(session, given))
    made.passed("ONNX parity", lambda: onnx_file.trained(session, known))
    requests = [requests_lib.random(served, rows, seed=rows) for rows in BATCH_SIZES]
    return _medians([session.call(r, repeats.get(requests_lib.rows(r), 0)) for r in requests])


def _medians(answers: "Sequence[fresh_process.Answer]") -> "dict[int, float]":
    """Milliseconds of the answers to `BATCH_SIZES` rows that were repeated."""
    return {
        rows: round(1e3 * float(np.median(answer.seconds)), 3)
        for rows, answer in zip(BATCH_SIZES, answers)
        if answer.seconds
    }


def tolerance(value: Mapping[str, Any]) -> float:
    """How far a probability may be from the trained model's, by the version's manifest."""
    return answers_lib.FOLDED_TOLERANCE if value["made"].get("folded") else answers_lib.TOLERANCE


def _replayed(replays: "list[warmup.Replay]", answers: "list[fresh_process.Answer]") -> str:
    for replay, answer in zip(replays, answers):
        if answer.error is not None:
            raise errors.PfrecError(
                f"a warm-up request to {replay.signature} was refused: "
                f"{answers_lib.short(answer.error)}"
            )
        for name, values in answer.outputs.items():
            if values.dtype != object and not np.isfinite(values).all():
                raise errors.PfrecError(
                    f"a warm-up request to {replay.signature} gave {name} that is no number"
                )
    return f"{len(replays)} requests answered"


def _recorded(
    value: Mapping[str, Any], replays: "list[warmup.Replay]", answers: "list[fresh_process.Answer]"
) -> str:
    """That the largest request to `serving_default` gets the answers that the trained model gave
    when the version was made.
    """
    largest = _largest(replays)
    if largest is None:
        raise errors.PfrecError(f"no warm-up request to {interface.SERVE}")
    # Another processor may add in another order than the one that the version was made on.
    return answers_lib.parity(
        _expected(value, replays), [answers[largest]], answers_lib.FOLDED_TOLERANCE
    )


def _expected(value: Mapping[str, Any], replays: "list[warmup.Replay]") -> "list[answers_lib.Case]":
    """The request of the recorded answers with them; none without such a request."""
    largest = _largest(replays)
    if largest is None:
        return []  # A check that failed.
    expected = {task: np.array(values, np.float32) for task, values in value["expected"].items()}
    return [answers_lib.Case(dict(replays[largest].inputs), expected)]


def _largest(replays: "list[warmup.Replay]") -> Optional[int]:
    """The place of the largest request to `serving_default`."""
    named = [number for number, replay in enumerate(replays) if replay.signature == interface.SERVE]
    return max(named, key=lambda n: requests_lib.rows(replays[n].inputs)) if named else None
