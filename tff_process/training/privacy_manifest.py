"""The privacy manifest: what leaves a client in a run, group by group, and what never does."""

import math
import pathlib
from collections.abc import Sequence
from typing import Any

from pfrec import coarsening, errors, files, metrics
from tff_process import plan as plan_lib
from tff_process.client import small_uploads, strategy, summed_uploads, variables
from tff_process.privacy import mechanism as mechanism_lib
from tff_process.privacy import normalisation, soundness
from tff_process.process import federation

_PROTECTED = {
    soundness.ROW: "one training row that is",
    soundness.GROUP: "all training rows of a group, as of a user, that are",
}


def of(training: federation.Federation) -> "dict[str, Any]":
    """The manifest of a training, as plain data.

    Shapes and bytes are those of one client and one aggregation, of which a round has
    `aggregations_per_round`, and a training at most `most_rounds` rounds; `uploads_once` leave once
    a run. These, `downloads` and `evaluation_downloads` list everything that crosses the wire, with
    how exact it is where that is less than it could be; what is in none stays with its client, as
    do the `kept_copies` of what an algorithm with personal models holds beside the model, and the
    secret that the order of its rows follows from.

    Where what is evaluated is an average (`averaging`), what a client downloads crosses once more
    for the evaluation of a round, and where the spread is found (`spreading`) the
    `evaluation_downloads` with it: `evaluation_download_bytes` in all, 0 where what was sent for
    training serves for it, or metrics are withheld and nobody evaluates. Then metrics of all
    `evaluations_per_round` models leave in one answer, `spreads_metrics`.
    """
    layout, bits = training.layout, training.algorithm.client.upload_bits
    table = training.algorithm.policy.table(training.tagged)
    if training.plan.secure_sums:
        uploads = _summed(layout)
    else:
        private = training.mechanism is not None
        uploads = [item for spec in layout.uploaded for item in _sent(spec, bits, private)]
    once = [
        {
            "what": f"row_counts/{spec.name}",
            "group": spec.group,
            "shape": [spec.shape[0]],
            "bytes": _bytes(spec.shape[:1]),
            "exactness": f"powers of two, 0 below {coarsening.FLOOR}",
        }
        for spec in layout.specs
        if spec.counts_rows and training.counts_ids
    ]
    tasks, withheld = len(training.dataset.schema.tasks), training.plan.withhold
    uploads += [
        {
            "what": "examples",
            "group": "",
            "shape": [],
            "bytes": 4,
            "exactness": "always 0: they are in a sum"
            if training.plan.secure_sums
            else "whole batches, or two significant digits",
        },
        {
            "what": "loss",
            "group": "",
            "shape": [],
            "bytes": 4,
            "exactness": "withheld: always 0"
            if plan_lib.LOSS in withheld
            else f"{coarsening.LOSS_DECIMALS} decimals",
        },
        {"what": "serves", "group": "", "shape": [tasks], "bytes": 4 * tasks},
    ]
    sent_again = False
    if plan_lib.METRICS not in withheld:
        sent_again = training.algorithm.keeps_trained or training.finds_spread
        told = {"metrics": [tasks, len(metrics.METRICS)]}
        if training.finds_spread:
            told["metrics"].insert(0, 1)
            told["spreads_metrics"] = [training.valid_models, *told["metrics"][1:]]
        uploads += [
            {
                "what": name,
                "group": "",
                "shape": shape,
                "bytes": 2 * _bytes(shape),
                "exactness": (
                    f"{coarsening.METRIC_DECIMALS} decimals; rows and positives of valid "
                    "and test to two significant digits"
                ),
            }
            for name, shape in told.items()
        ]
    downloads = [
        *(_received(spec, "") for spec in layout.uploaded),
        *(_received(spec, "consensus/") for spec in training.algorithm.anchors(layout)),
    ]
    download_bytes = sum(item["bytes"] for item in downloads)
    tried = layout.joined(variables.PERSONAL) if training.finds_spread else []
    evaluation_downloads = [_received(spec, "consensus/") for spec in tried]
    manifest = {
        "algorithm": training.algorithm.name,
        "groups": table,
        "uploads": uploads,
        "uploads_once": once,
        "downloads": downloads,
        "upload_bytes": sum(item["bytes"] for item in uploads),
        "upload_bytes_once": sum(item["bytes"] for item in once),
        "download_bytes": download_bytes,
        "evaluation_downloads": evaluation_downloads,
        "evaluation_download_bytes": sum(item["bytes"] for item in evaluation_downloads)
        + (download_bytes if sent_again else 0),
        "evaluations_per_round": training.valid_models,
        "aggregations_per_round": training.aggregation_steps,
        "most_rounds": training.rounds,
        "never_leaves": [row["group"] for row in table if not row["leaves"]]
        + ["optimizer", "secret"],
        "kept_copies": [
            {"what": item.name, "shape": list(item.shape), "bytes": _bytes(item.shape)}
            for item in training.algorithm.client.kept(layout)
        ],
    }
    if training.plan.secure_sums:
        manifest["secure_sums"] = {
            "server_learns": "of what is masked the sum over all scenarios alone",
            "scenarios": list(training.dataset.scenarios),
        }
    if training.mechanism is not None:
        manifest["differential_privacy"] = differential_privacy(training)
    return manifest


def differential_privacy(training: federation.Federation) -> "dict[str, Any]":
    """What a training's noise guarantees of each scenario's training rows, and what of that is
    spent.
    """
    mechanism = training.mechanism
    assert mechanism is not None
    spent = {} if training.charges is None else training.charges.to_json()
    return {
        "protects": f"{_PROTECTED[mechanism.unit]} there or not, in all that leaves the scenario",
        "takes_as_known": "training rows to two digits, and which tasks have labels",
        "mechanism": _told(mechanism),
        "clip": mechanism.clip,
        "scenarios": {
            scenario: {
                "epsilon": budget.epsilon,
                "delta": budget.delta,
                "noise_multiplier": budget.noise,
                "sampling_rate": budget.rate,
                "steps": budget.steps,
                "draws": mechanism_lib.DRAWS,
                **spent.get(scenario, {}),
            }
            for scenario, budget in zip(training.dataset.scenarios, mechanism.budgets)
        },
    }


def _told(mechanism: mechanism_lib.Mechanism) -> str:
    """The mechanism in words."""
    told = f"Gaussian noise on clipped sums over Poisson sampled {mechanism.unit}s"
    if mechanism.sparse_rows:
        told += (
            f"; in tables of {mechanism.sparse_rows} rows or more only those rows get a sum and "
            "noise that a step selects: how often it met each is told with Gaussian noise too, "
            "which the same epsilon pays for, and held against a threshold"
        )
    return told


def require_same_noise(path: pathlib.Path, training: federation.Federation) -> None:
    """Checks that a private run goes on with the noise that its budgets were spent with so far.

    Args:
      path: of the manifest of before; none where the run begins.
      training: with its charges open.

    Raises:
      PfrecError: where it is another, so that nobody could say what both have spent.
    """
    if training.charges is None or not path.exists():
        return
    remedy = "go on with the pfrec that began the run, or train into another --output"
    manifest = files.read_json(path, remedy=remedy)
    before = manifest.get("differential_privacy", {}).get("scenarios", {})
    for scenario, now in differential_privacy(training)["scenarios"].items():
        then, spent = before.get(scenario, {}), now["steps_spent"]
        for name in ("noise_multiplier", "sampling_rate", "steps", "draws") if spent else ():
            if not math.isclose(then.get(name, math.nan), now[name], rel_tol=1e-9):
                raise errors.PfrecError(
                    f"{path}: {scenario} has spent {spent} steps with {name} {then.get(name)}, "
                    f"and this pfrec would go on with {now[name]}; {remedy}"
                )


def write(path: pathlib.Path, training: federation.Federation) -> None:
    """Writes the manifest of a training."""
    files.write_json(path, of(training))


def _sent(spec: variables.VariableSpec, bits: int, private: bool) -> "list[dict[str, Any]]":
    """A variable on its way to the server, as one tensor or, where it is rounded, as two."""
    named = {"group": spec.group, "shape": list(spec.shape)}
    if private and not spec.trainable:
        told = f"a constant, {normalisation.constant_of(spec.name) or 0}, whatever the rows"
        return [{"what": spec.name, **named, "bytes": _bytes(spec.shape), "exactness": told}]
    if bits == strategy.FULL_BITS or not spec.trainable:
        return [{"what": spec.name, **named, "bytes": _bytes(spec.shape)}]
    return [
        {
            "what": f"{spec.name}/{small_uploads.CODES}",
            **named,
            "bytes": _bytes(spec.shape) * bits // strategy.FULL_BITS,
            "exactness": f"the change, rounded to {bits} bits",
        },
        {"what": f"{spec.name}/{small_uploads.SCALE}", **named, "shape": [], "bytes": 4},
    ]


def _received(spec: variables.VariableSpec, prefix: str) -> "dict[str, Any]":
    """A variable's values on their way to a client."""
    return {
        "what": f"{prefix}{spec.name}",
        "group": spec.group,
        "shape": list(spec.shape),
        "bytes": _bytes(spec.shape),
    }


def _summed(layout: variables.ModelVariables) -> "list[dict[str, Any]]":
    """What leaves for a sum: masked whole numbers of 64 bits."""
    groups = {spec.name: spec.group for spec in layout.uploaded}
    return [
        {
            "what": name,
            "group": groups.get(name, ""),
            "shape": list(shape),
            "bytes": 2 * _bytes(shape),
            "exactness": "masked: its sum over the scenarios, to 2^-24",
        }
        for name, shape in summed_uploads.shapes(layout).items()
    ]


def _bytes(shape: "Sequence[int]") -> int:
    """Of float32 numbers."""
    size = 4
    for length in shape:
        size *= length
    return size
