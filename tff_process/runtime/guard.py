"""Guard rails on what clients send:
what cannot be, or would harm the others, is refused by name before anything is made of it.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_federated as tff

from pfrec import amounts, metrics
from pfrec.data.dataset import dataset as dataset_lib
from tff_process import plan as plan_lib
from tff_process.process import turns
from tff_process.runtime import options as options_lib

# A scenario with one in so many of the median one's rows, or less, is a small one, where it also
# trains on so few batches a round.
_FEW_ROWS = 4
_FEW_BATCHES = 2


@dataclasses.dataclass(frozen=True)
class Rules:
    """What is refused.

    Attributes:
      max_norm_ratio: an update that is larger (see `excess`) than this many times the median of
        the round; 0 sets no bound. Judged only where three clients or more are present: of two,
        neither is the odd one. Where half of them send what harms, the median is theirs.
      clip: whether such an update is scaled down to the bound instead.
      min_clients: a round with fewer accepted clients is not applied.
      clipped: the clients of which it is scaled down in any case, as theirs may be larger without
        being wrong: one that is refused in every aggregation learns nothing.
    """

    max_norm_ratio: float = 2.0
    clip: bool = False
    min_clients: int = 1
    clipped: "frozenset[int]" = frozenset()

    @classmethod
    def of(
        cls, options: options_lib.Options, dataset: dataset_lib.Dataset, plan: plan_lib.Plan
    ) -> "Rules":
        """What options say of the clients.

        Scaled down in any case are updates of scenarios that are new in a run that goes on, as the
        others have learned already, and of small ones: with at most a quarter of the median one's
        rows and two batches a round. Adam goes furthest in its first batches, while of many the
        steps are in part undone by one another.

        Args:
          options: how the training is executed.
          dataset: of the clients, its scenarios.
          plan: with a batch size, `federation.fitted`.
        """
        rows = turns.told_rows(dataset)
        few = float(np.median(rows)) / _FEW_ROWS
        batches = turns.round_steps(plan, turns.epoch_steps(plan, dataset))
        clipped = frozenset(
            client
            for client, name in enumerate(dataset.scenarios)
            if name in options.newcomers
            or (rows[client] <= few and batches[client] <= _FEW_BATCHES)
        )
        return cls(options.max_update_norm, options.clip_updates, options.min_clients, clipped)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the server asked of a client in an aggregation step, and so knows of it.

    Attributes:
      steps: batches to train on.
      least, most: rows that these can hold.
    """

    steps: int
    least: int
    most: int


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
    rules: Rules,
    reports: Mapping[int, Any],
    kind: tff.StructType,
    received: "Any",
    asked: "Mapping[int, Asked]",
) -> Verdict:
    """Judges the reports of a round.

    Args:
      rules: what is refused.
      reports: by client number, see `kind`.
      kind: the type of a report.
      received: `client -> values by name`, what each client started from; its update is the
        difference.
      asked: by client number.
    """
    refused: dict[int, str] = {}
    norms: dict[int, float] = {}
    for client, report in sorted(reports.items()):
        reason = _unfit(report, kind, asked[client])
        if reason is None:
            norms[client] = update_norm(report["values"], received(client))
            if not np.isfinite(norms[client]):
                # Nor is it where a value is not, so that values are looked through here alone.
                reason = _infinite(report) or "its update is too large for its norm to be a float32"
                del norms[client]
        if reason is not None:
            refused[client] = reason
    accepted = {client: reports[client] for client in norms}
    clipped: dict[int, float] = {}
    if rules.max_norm_ratio > 0 and len(norms) >= 3:
        steps = {client: asked[client].steps for client in norms}
        for client, times in excess(norms, steps).items():
            if times <= rules.max_norm_ratio:
                continue
            if rules.clip or client in rules.clipped:
                clipped[client] = rules.max_norm_ratio / times
                accepted[client] = _scaled(reports[client], received(client), clipped[client])
            else:
                refused[client] = (
                    f"its update has norm {norms[client]:.6g} after "
                    f"{amounts.amount(steps[client], 'batch', 'batches')}, "
                    f"{times:.3g} times what is usual in the round (--max_update_norm="
                    f"{rules.max_norm_ratio:g})"
                )
                del accepted[client]
    return Verdict(accepted, refused, clipped, norms)


def excess(norms: "Mapping[int, float]", steps: "Mapping[int, int]") -> "dict[int, float]":
    """How many times the median each client's update is, by client number.

    An update grows with the steps behind it, by their square root where they are noise and in
    proportion where they agree. A client is only as much too large as it is by both:
    `min over a in (1/2, 1) of (norm / steps^a) / median (norm / steps^a)`. Infinite against a
    median of zero.

    Args:
      norms: of the updates, not negative.
      steps: batches behind them, at least 1.
    """
    clients = list(norms)
    times = []
    for power in (0.5, 1.0):
        size = np.array([norms[client] / steps[client] ** power for client in clients])
        median = np.median(size)
        with np.errstate(divide="ignore", invalid="ignore"):
            times.append(np.where(size > 0, size / median, 0.0))
    return dict(zip(clients, np.minimum(*times).tolist()))


def update_norm(values: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray]) -> float:
    """The L2 norm of all shared variables' change together;
    infinite where its square is beyond float32, and not finite where a value is not.
    """
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for name, value in values.items():
            difference = np.asarray(value - before[name]).ravel()
            total += float(np.dot(difference, difference))
    return float(np.sqrt(total))


def unfit_counts(counts: Any, kind: tff.StructType) -> "str | None":
    """Why a client's counts of ids are no counts; None where they are."""
    reason = unlike(counts, kind)
    if reason is None and any(np.any(np.asarray(value) < 0) for value in counts.values()):
        reason = "it says that it holds ids less often than never"
    return reason


def unfit_metrics(values: Any, shape: "tuple[int, ...]") -> "str | None":
    """Why a client's metrics of a shape [..., metrics] cannot be; None where they can. NaN is not
    known.
    """
    told = np.asarray(values, np.float64)
    if told.shape != shape:
        return f"they are of shape {list(told.shape)}, not {list(shape)}"
    for row in told.reshape(-1, len(metrics.METRICS)):
        named = dict(zip(metrics.METRICS, row.tolist()))
        for name in ("auc", "gauc", "ece"):
            if not (np.isnan(named[name]) or 0.0 <= named[name] <= 1.0):
                return f"it says that its {name} is {named[name]:g}"
        if named["logloss"] < 0.0:
            return f"it says that its logloss is {named['logloss']:g}"
        if not 0.0 <= named["positives"] <= named["rows"] < np.inf:
            return f"it says that {named['positives']:g} of its {named['rows']:g} rows are positive"
    return None


def _unfit(report: Any, kind: tff.StructType, asked: Asked) -> "str | None":
    said = {name: value for name, value in report.items() if name != "values"}
    reason = _misshapen(report, kind) or _infinite(said)
    if reason is None and not asked.least <= report["examples"] <= asked.most:
        of = f"{asked.least}" if asked.least == asked.most else f"{asked.least} to {asked.most}"
        reason = (
            f"it says that it trained on {report['examples']:g} rows, where it was asked for {of}"
        )
    return reason


def unlike(values: Any, kind: tff.StructType) -> "str | None":
    """Why what a client sent is not of a type, or not finite; None where it is."""
    return _misshapen(values, kind) or _infinite(values)


def _misshapen(values: Any, kind: tff.StructType) -> "str | None":
    for (name, value), (_, inner) in zip(_leaves(values), _type_leaves(kind)):
        array = np.asarray(value)
        if array.shape != tuple(inner.shape) or array.dtype != inner.dtype:
            return (
                f"{name} is {array.dtype}{list(array.shape)}, not "
                f"{np.dtype(inner.dtype.type)}{list(inner.shape)}"
            )
    return None


def _infinite(values: Any) -> "str | None":
    for name, value in _leaves(values):
        if not np.all(np.isfinite(value)):
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
