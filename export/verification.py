"""The checks of one version of a model, as a list of named results."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from export import capi, manifest, serving_module, serving_request, signature, warmup
from pfrec import errors
from pfrec.data import schema as schema_lib

# Between a trained model and its export: two compilations of the same float32 graph.
TOLERANCE = 1e-6
BATCH_SIZES = (1, 32, 512)


@dataclasses.dataclass(frozen=True)
class Check:
    """One check: its name, whether it passed, and what was found."""

    name: str
    ok: bool
    detail: str


@dataclasses.dataclass(frozen=True)
class Report:
    """All checks of a version directory."""

    directory: pathlib.Path
    checks: "tuple[Check, ...]"

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


@dataclasses.dataclass(frozen=True)
class Case:
    """A request and the probabilities that the trained model gives it, float32 [rows] per task."""

    request: serving_request.Request
    expected: Mapping[str, np.ndarray]


def verify(directory: pathlib.Path, cases: Sequence[Case] = ()) -> Report:
    """Checks one version.

    Files that are not what the manifest says are not loaded: the checks that would load them are left out then.

    Args:
      directory: of the version.
      cases: what the trained model answers, where that is known.

    Returns:
      The checks in order. Nothing is raised for a damaged version: that is a check that failed.
    """
    checks: list[Check] = []

    def passed(name: str, body: Callable[[], Any]) -> Any:
        """Runs a check; its result, or None where it failed."""
        try:
            detail, result = body()
        except errors.PfrecError as error:
            checks.append(Check(name, False, " ".join(str(error).split())))
            return None
        checks.append(Check(name, True, detail))
        return result

    def report() -> Report:
        return Report(directory, tuple(checks))

    held = passed("manifest", lambda: _manifest(directory))
    if held is None or passed("files", lambda: _files(directory, held[0])) is None:
        return report()
    value, schema = held
    graph = passed("graph", lambda: ("saved_model.pb can be read", signature.read(directory, schema)))
    requests = passed("warm-up file", lambda: _warmup(directory, schema))
    if graph is None:
        return report()
    passed("paths", lambda: _paths(graph))
    passed("variables", lambda: _variables(directory, value, graph))
    if passed("signature", lambda: _signature(schema, graph)) is None:
        return report()

    groups: dict[str, list[serving_request.Request]] = {
        "batch sizes": [serving_request.random(schema, rows, seed=rows) for rows in BATCH_SIZES],
        "unknown values": [serving_request.hostile(schema)],
        "warm-up replay": requests or [],
        "refused shapes": list(_malformed(schema)),
        "parity": [case.request for case in cases],
    }
    calls = [request for group in groups.values() for request in group]
    answers = passed("load", lambda: _load(directory, graph.names, calls))
    if answers is None:
        return report()
    waiting = iter(answers)
    given = {name: [next(waiting) for _ in group] for name, group in groups.items()}
    for name in ("batch sizes", "unknown values", "warm-up replay"):
        if groups[name]:
            passed(name, functools.partial(_probabilities, groups[name], given[name]))
    if groups["refused shapes"]:
        passed("refused shapes", lambda: _refused(given["refused shapes"]))
    if cases:
        passed("parity", lambda: _parity(cases, given["parity"]))
    return report()


def largest_difference(cases: Sequence[Case], answers: Sequence[capi.Answer]) -> float:
    """The largest absolute difference of any probability from the expected one.

    Raises:
      PfrecError: where a call was refused, or an answer has another shape.
    """
    largest = 0.0
    for case, answer in zip(cases, answers):
        if answer.error is not None:
            raise errors.PfrecError(f"a request was refused: {_short(answer.error)}")
        for task, expected in case.expected.items():
            found = answer.outputs[task]
            if found.shape != expected.shape:
                raise errors.PfrecError(f"{task} has shape {list(found.shape)} where the model gives {list(expected.shape)}")
            # NaN on either side must not pass for a small difference.
            difference = float(np.max(np.abs(found.astype(np.float64) - expected), initial=0.0))
            largest = max(largest, difference if np.isfinite(difference) else np.inf)
    return largest


def _manifest(directory: pathlib.Path) -> Any:
    value = manifest.read(directory)
    schema = schema_lib.Schema.from_json(value["schema"], place=str(directory / manifest.FILE))
    return f"model {value['model']}, run {value['run']['id']}, round {value['run']['round']}", (value, schema)


def _files(directory: pathlib.Path, value: Mapping[str, Any]) -> Any:
    found = manifest.differences(directory, value)
    if found:
        raise errors.PfrecError("; ".join(found))
    return f"{len(value['files'])} files as written", True


def _warmup(directory: pathlib.Path, schema: schema_lib.Schema) -> Any:
    requests = [warmup.arrays(request) for request in warmup.read(directory)]
    for request in requests:
        if set(request) != set(signature.input_dtypes(schema)):
            raise errors.PfrecError("a warm-up request does not hold exactly the features of the schema")
    return f"{len(requests)} request(s), {sum(len(next(iter(r.values()))) for r in requests)} rows", requests


def _paths(graph: signature.SavedGraph) -> Any:
    if graph.absolute_paths:
        raise errors.PfrecError(f"saved_model.pb holds absolute paths: {', '.join(graph.absolute_paths[:5])}")
    return "no absolute path in saved_model.pb", True


def _variables(directory: pathlib.Path, value: Mapping[str, Any], graph: signature.SavedGraph) -> Any:
    found = serving_module.checkpoint_variables(directory)
    listed = {name: list(shape) for name, shape in value["variables"].items()}
    if found != listed:
        names = sorted(name for name in {*found, *listed} if found.get(name) != listed.get(name))
        raise errors.PfrecError(f"not as in the manifest: {', '.join(names)}")
    if graph.unreachable:
        raise errors.PfrecError(f"not read by {signature.NAME}: {', '.join(sorted(graph.unreachable))}")
    if len(found) != len(graph.reachable):
        raise errors.PfrecError(f"the graph reads {len(graph.reachable)} variables, the checkpoint holds {len(found)}")
    return f"{len(found)} variables, all read by {signature.NAME}", True


def _signature(schema: schema_lib.Schema, graph: signature.SavedGraph) -> Any:
    for what, wanted, found in (
        ("input", signature.input_dtypes(schema), graph.inputs),
        ("output", signature.output_dtypes(schema), graph.outputs),
    ):
        for name in sorted({*wanted, *found}):
            expected = f"{wanted[name]} [None]" if name in wanted else "absent"
            if found.get(name, "absent") != expected:
                raise errors.PfrecError(f"{what} {name!r} is {found.get(name, 'absent')} where the schema says {expected}")
    return f"{len(graph.inputs)} inputs, {len(graph.outputs)} outputs", True


def _malformed(schema: schema_lib.Schema) -> "tuple[serving_request.Request, ...]":
    """Requests with one input of another length (where there are two inputs), and with one of rank 2."""
    request = serving_request.random(schema, 3, seed=0)
    first = next(iter(request))
    ranks = ({**request, first: request[first][:, np.newaxis]},)
    return ranks if len(request) == 1 else (*ranks, {**request, first: request[first][:2]})


def _load(directory: pathlib.Path, names: capi.TensorNames, calls: "list[serving_request.Request]") -> Any:
    answers = capi.run(directory, names, calls)
    return f"loaded in a fresh process, {len(calls)} requests", answers


def _probabilities(requests: "list[serving_request.Request]", answers: "list[capi.Answer]") -> Any:
    lowest, highest = np.inf, -np.inf
    for request, answer in zip(requests, answers):
        rows = len(next(iter(request.values())))
        if answer.error is not None:
            raise errors.PfrecError(f"a request of {rows} rows was refused: {_short(answer.error)}")
        for task, values in answer.outputs.items():
            if values.shape != (rows,):
                raise errors.PfrecError(f"{task} has shape {list(values.shape)} for {rows} rows")
            if not (np.isfinite(values).all() and (values >= 0).all() and (values <= 1).all()):
                raise errors.PfrecError(f"{task} holds values that are no probability, in a request of {rows} rows")
            lowest, highest = min(lowest, float(values.min())), max(highest, float(values.max()))
    sizes = ", ".join(str(len(next(iter(request.values())))) for request in requests)
    return f"{sizes} rows: probabilities {lowest:.3g} to {highest:.3g}", True


def _refused(answers: "list[capi.Answer]") -> Any:
    for answer in answers:
        if answer.error is None:
            raise errors.PfrecError("inputs of unequal length or of rank 2 were answered")
        if "rank 1" not in answer.error:
            raise errors.PfrecError(f"inputs of unequal length or of rank 2 are refused without saying so: {_short(answer.error)}")
    return "inputs of unequal length and of rank 2 are refused with a message that says so", True


def _parity(cases: Sequence[Case], answers: "list[capi.Answer]") -> Any:
    largest = largest_difference(cases, answers)
    rows = sum(len(next(iter(case.expected.values()))) for case in cases)
    detail = f"largest difference to the trained model {largest:.3g} over {rows} rows"
    if largest > TOLERANCE:
        raise errors.PfrecError(f"{detail}, above {TOLERANCE:g}")
    return detail, True


def _short(text: str) -> str:
    return " ".join(text.split())[:200]
