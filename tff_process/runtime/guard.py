"""Guard rails on what clients send:
an update that would harm the others is refused by name before it is aggregated.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_federated as tff


@dataclasses.dataclass(frozen=True)
class Rules:
    """What is refused.

    Attributes:
      max_norm_ratio: an update whose L2 norm is more than this many times the median of the round's
        norms; 0 sets no bound. Judged only where three clients or more are present: of two, neither
        is the odd one.
      clip: whether such an update is scaled down to the bound instead.
      min_clients: a round with fewer accepted clients is not applied.
    """

    max_norm_ratio: float = 100.0
    clip: bool = False
    min_clients: int = 1


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a round's reports.

    Attributes:
      accepted: reports by client number; a clipped one is changed.
      refused: why, by client number.
      clipped: the factor by which an update was scaled, by client number.
      norms: L2 norm of each update that is finite and of the right shape, by client number.
    """

    accepted: "dict[int, Any]"
    refused: "dict[int, str]"
    clipped: "dict[int, float]"
    norms: "dict[int, float]"


def judge(
    rules: Rules, reports: Mapping[int, Any], kind: tff.StructType, received: "Any"
) -> Verdict:
    """Judges the reports of a round.

    Args:
      rules: what is refused.
      reports: by client number, see `kind`.
      kind: the type of a report.
      received: `client -> values by name`, what each client started from; its update is the
        difference.
    """
    refused: dict[int, str] = {}
    norms: dict[int, float] = {}
    for client, report in sorted(reports.items()):
        reason = _unfit(report, kind)
        if reason is None:
            norms[client] = update_norm(report["values"], received(client))
            if not np.isfinite(norms[client]):
                reason = "its update is too large for its norm to be a float32"
                del norms[client]
        if reason is not None:
            refused[client] = reason
    accepted = {client: reports[client] for client in norms}
    clipped: dict[int, float] = {}
    if rules.max_norm_ratio > 0 and len(norms) >= 3:
        median = float(np.median(list(norms.values())))
        bound = rules.max_norm_ratio * median
        for client, norm in norms.items():
            if norm <= bound:
                continue
            if rules.clip:
                clipped[client] = bound / norm
                accepted[client] = _scaled(reports[client], received(client), clipped[client])
            else:
                refused[client] = (
                    f"its update has norm {norm:.6g}, {_times(norm, median)} the median "
                    f"{median:.6g} of the round"
                )
                del accepted[client]
    return Verdict(accepted, refused, clipped, norms)


def update_norm(values: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray]) -> float:
    """The L2 norm of all shared variables' change together;
    infinite where its square is beyond float32.
    """
    total = 0.0
    for name, value in values.items():
        difference = np.asarray(value - before[name]).ravel()
        with np.errstate(over="ignore"):
            total += float(np.dot(difference, difference))
    return float(np.sqrt(total))


def unfit_counts(counts: Any, kind: tff.StructType) -> "str | None":
    """Why a client's counts of ids are no counts; None where they are."""
    reason = _unlike(counts, kind)
    if reason is None and any(np.any(np.asarray(value) < 0) for value in counts.values()):
        reason = "it says that it holds ids less often than never"
    return reason


def _unfit(report: Any, kind: tff.StructType) -> "str | None":
    reason = _unlike(report, kind)
    if reason is None and not report["examples"] >= 0:
        reason = f"it says that it trained on {report['examples']} rows"
    return reason


def _unlike(values: Any, kind: tff.StructType) -> "str | None":
    for (name, value), (_, inner) in zip(_leaves(values), _type_leaves(kind)):
        array = np.asarray(value)
        if array.shape != tuple(inner.shape) or array.dtype != inner.dtype:
            return (
                f"{name} is {array.dtype}{list(array.shape)}, not "
                f"{np.dtype(inner.dtype.type)}{list(inner.shape)}"
            )
        if not np.all(np.isfinite(array)):
            return f"{name} holds values that are not finite"
    return None


def _leaves(value: Any, place: str = "") -> "Iterator[tuple[str, Any]]":
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{place}/{name}" if place else name)
    else:
        yield place, value


def _type_leaves(kind: tff.Type, place: str = "") -> "Iterator[tuple[str, Any]]":
    if isinstance(kind, tff.StructType):
        for name, inner in tff.structure.to_elements(kind):
            yield from _type_leaves(inner, f"{place}/{name}" if place else name)
    else:
        yield place, kind


def _scaled(report: Any, before: Mapping[str, np.ndarray], factor: float) -> Any:
    values = {
        name: (before[name] + factor * (np.asarray(value, np.float64) - before[name])).astype(
            value.dtype
        )
        for name, value in report["values"].items()
    }
    return {**report, "values": values}


def _times(norm: float, median: float) -> str:
    return f"{norm / median:.3g} times" if median > 0 else "against"
