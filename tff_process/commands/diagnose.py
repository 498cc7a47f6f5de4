"""pfrec-diagnose: draws what a run's rounds say of how its scenarios help one another.

pfrec-diagnose --run=run

A round costs nothing for it: the figures of aggregation are in RUN/diagnostics already. How gates
are used is computed here from the saved models of every kept round on the scenarios' own valid
rows: it tells of private gates and rows, so no client sends it, and it needs the client directories
and the data, which a simulation has; of a run over silos the rest is drawn.
"""

import math
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

from absl import flags

from pfrec import command

if TYPE_CHECKING:
    from pfrec import run_directory


# By scenario and task, a weight for each expert.
GateUse = dict[str, dict[str, list[float]]]


def main() -> None:
    """Entry point."""
    flags.DEFINE_string(
        "run", None, "A finished run directory, as pfrec-train wrote it.", required=True
    )
    command.run(_main)


def _main(argv: "list[str]") -> None:
    del argv
    command.require_run(pathlib.Path(flags.FLAGS.run))
    from pfrec import run_directory

    for path in draw(run_directory.open_run(pathlib.Path(flags.FLAGS.run), with_models=False)):
        print(f"wrote {path}")


def draw(run: "run_directory.RunDirectory") -> "list[pathlib.Path]":
    """Writes RUN/diagnostics/gate_use.json and the charts that the run has figures for.

    Returns:
      the files.

    Raises:
      PfrecError: where a file of the run is damaged.
    """
    from pfrec import files

    gates = (
        {number: gate_use(run, number) for number in run.rounds()}
        if run.config["data"] is not None
        else {}
    )
    content = {name: chart.encode() for name, chart in _charts(run, rounds(run), gates).items()}
    if any(gates.values()):
        content["gate_use.json"] = files.json_text(gates).encode()
    for name, text in content.items():
        files.write_bytes(run.path / "diagnostics" / name, text)
    return [run.path / "diagnostics" / name for name in sorted(content)]


def rounds(run: "run_directory.RunDirectory") -> "dict[int, dict[str, Any]]":
    """What was saved of each round, by its number."""
    from pfrec import files

    paths = sorted((run.path / "diagnostics").glob("round_*.json"))
    return {
        int(path.stem[len("round_") :]): files.read_json(path, remedy="train the run again")
        for path in paths
    }


def gate_use(run: "run_directory.RunDirectory", round_number: int) -> "GateUse":
    """The mean weight of each expert in the gate of each task over a scenario's valid rows, after a
    kept round; empty without gates.
    """
    import numpy as np
    import tensorflow as tf

    from pfrec.data.dataset import pipeline
    from pfrec.models.mmoe import mmoe

    found: GateUse = {}
    for scenario in run.scenarios:
        model = run.load_model(scenario, round_number)
        if not isinstance(model, mmoe.MMoE):
            return {}
        totals, rows = {task: np.zeros(model.config.experts) for task in model.gates}, 0
        for batch in pipeline.evaluation_batches(
            tf.constant(run.dataset.shards(scenario, "valid")), run.schema
        ):
            x = model.features(batch, training=False)
            rows += int(x.shape[0])
            for task, gate in model.gates.items():
                totals[task] += np.sum(gate(x), axis=0, dtype=np.float64)
        found[scenario] = {task: (total / max(1, rows)).tolist() for task, total in totals.items()}
    return found


def effective_experts(weights: "Sequence[float]") -> float:
    """How many experts a gate uses: the exponential of the entropy of its mean weights, 1 for a
    single expert, their number for all alike.
    """
    return math.exp(-sum(weight * math.log(weight) for weight in weights if weight > 0))


def _charts(
    run: "run_directory.RunDirectory",
    by_round: "dict[int, dict[str, Any]]",
    gates: "dict[int, GateUse]",
) -> "dict[str, str]":
    from tff_process.comparison import charts

    drawn = {}
    conflicts = _lines(by_round, "conflict_share")
    if conflicts:
        drawn["conflict_share.svg"] = charts.lines(
            "Pairs of scenarios whose updates conflict", "round", "share of pairs", conflicts
        )
    distances = _distances(run, by_round)
    if distances:
        drawn["template_distance.svg"] = charts.lines(
            "Distance of each scenario's personal values from the template",
            "round",
            "root of summed squares",
            distances,
        )
    best = by_round.get(run.summary["best_round"], {})
    for name, matrix in best.items():
        kind, _, group = name.partition("/")
        if kind == "attention" and len(matrix) == len(run.scenarios):
            title = (
                f"{group}: how much each scenario (row) takes from which, round "
                f"{run.summary['best_round']}"
            )
            drawn[f"attention_{group.replace('/', '_')}.svg"] = charts.grid(
                title, run.scenarios, run.scenarios, matrix
            )
    use = gates.get(run.summary["best_round"])
    if use:
        labels = [f"{scenario}, {task}" for scenario, tasks in use.items() for task in tasks]
        values: list[list[Optional[float]]] = [
            list(weights) for tasks in use.values() for weights in tasks.values()
        ]
        experts = [f"expert {number}" for number in range(len(values[0]))]
        title = (
            "Mean weight of each expert in the gates, valid rows, round "
            f"{run.summary['best_round']}"
        )
        drawn["gate_use.svg"] = charts.grid(title, labels, experts, values)
        lines = [
            charts.Line(
                f"{scenario}, {task}",
                [
                    (float(number), effective_experts(found[scenario][task]))
                    for number, found in sorted(gates.items())
                ],
            )
            for scenario, tasks in use.items()
            for task in tasks
        ]
        title = "Experts that each gate uses: exponential of the entropy of its mean weights"
        drawn["effective_experts.svg"] = charts.lines(
            title, "round (those that were kept)", "experts", lines
        )
    return drawn


def _lines(by_round: "dict[int, dict[str, Any]]", kind: str) -> "list[Any]":
    """A line for each group of which each round has one number."""
    from tff_process.comparison import charts

    points: dict[str, list[tuple[float, float]]] = {}
    for number, value in sorted(by_round.items()):
        for name, share in value.items():
            if name.startswith(f"{kind}/"):
                points.setdefault(name[len(kind) + 1 :], []).append((float(number), float(share)))
    return [charts.Line(group, line) for group, line in sorted(points.items())]


def _distances(
    run: "run_directory.RunDirectory", by_round: "dict[int, dict[str, Any]]"
) -> "list[Any]":
    """A line for each scenario: its distance over all groups together."""
    from tff_process.comparison import charts

    lines = []
    for client, scenario in enumerate(run.scenarios):
        points = []
        for number, value in sorted(by_round.items()):
            squares = [
                found[client] ** 2
                for name, found in value.items()
                if name.startswith("template_distance/")
            ]
            if squares:
                points.append((float(number), sum(squares) ** 0.5))
        if points:
            lines.append(charts.Line(scenario, points))
    return lines


if __name__ == "__main__":
    main()
