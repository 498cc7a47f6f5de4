"""pfrec-diagnose: draws how a run's scenarios help one another, and what its models go by.

pfrec-diagnose --run=run
pfrec-diagnose --run=run --importance
pfrec-diagnose --client_dir=silo --importance     # on a silo's own machine

A round costs nothing for it: the figures of aggregation are in RUN/diagnostics already. How gates
are used, how calibrated predictions are and what features are worth is computed here from the saved
models on the scenarios' own rows: it tells of private values and rows, so no client sends it, and
it needs the client directories and the data, which a simulation has. Of a run over silos the rest
is drawn, and each silo computes its own part, of which it may hand the summary on.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Callable, Optional

from absl import flags

from pfrec import command, errors

if TYPE_CHECKING:
    from pfrec import run_directory
    from pfrec.data import schema as schema_lib
    from pfrec.data.dataset import dataset as dataset_lib
    from tff_process.comparison.pictures import GateUse

_SHOWN = 5  # features of a scenario and task


@dataclasses.dataclass(frozen=True)
class Importance:
    """How permutation importance is measured.

    Attributes:
      rows: of each scenario's valid rows at most so many.
      repeats: permutations of each feature.
      seed: of the permutations.
    """

    rows: int = 10_000
    repeats: int = 3
    seed: int = 0


def main() -> None:
    """Entry point of `pfrec-diagnose`."""
    default = Importance()
    flags.DEFINE_string("run", None, "A finished run directory, as pfrec-train wrote it.")
    flags.DEFINE_string(
        "client_dir",
        None,
        "In place of --run: the directory of a silo whose training is finished; only what needs "
        "its model and its rows is computed, and written to DIR/diagnostics.",
    )
    flags.DEFINE_bool(
        "importance",
        False,
        "Also measure what each feature is worth to each task of each scenario: AUC on valid rows "
        "with the feature's values shuffled among them.",
    )
    flags.DEFINE_integer(
        "importance_rows",
        default.rows,
        "Valid rows of a scenario that --importance takes at most.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "importance_repeats", default.repeats, "How often each feature is shuffled.", lower_bound=1
    )
    flags.DEFINE_integer("seed", default.seed, "Of the shuffles.", lower_bound=0)
    command.run(_main)


def _main(argv: "list[str]") -> None:
    del argv
    f = flags.FLAGS
    path = command.require_run_or_client(f.run, f.client_dir)
    if not f.importance:
        command.refuse_idle(["importance_rows", "importance_repeats", "seed"], "is of --importance")
    asked = Importance(f.importance_rows, f.importance_repeats, f.seed) if f.importance else None
    if f.client_dir is not None:
        written = inspect_client(path, asked)
    else:
        from pfrec import run_directory

        run = run_directory.open_run(path, with_models=False)
        if f.importance and run.config["data"] is None:
            raise errors.PfrecError(
                f"{path}: --importance needs models and rows, which are in the silos; run "
                "pfrec-diagnose --client_dir on each silo's machine"
            )
        written = draw(run, asked)
    if asked:
        from pfrec import files

        place = path / "diagnostics" / "importance.json"
        print("\n".join(_told(files.read_json(place, remedy="run it again"))))
    for name in written:
        print(f"wrote {name}")


def draw(
    run: "run_directory.RunDirectory", importance: Optional[Importance] = None
) -> "list[pathlib.Path]":
    """Writes what is computed of a run's models, the charts that the run has figures for, and its
    page.

    Returns:
      the files.

    Raises:
      PfrecError: where a file of the run is damaged, or its data are gone.
    """
    from pfrec import run_model
    from pfrec.report import run_page, signals
    from tff_process.comparison import pictures

    best = run.summary["best_round"]
    computed: dict[str, Any] = {}
    drawn = pictures.of_rounds(run.scenarios, best, signals.rounds(run.path))
    if run.config["data"] is not None:
        gates = {number: gate_use(run, number) for number in run.rounds()}
        drawn.update(pictures.of_gates(best, gates))
        computed = _inspected(
            run.scenarios,
            functools.partial(run_model.load, run),
            run.dataset,
            run.schema,
            best,
            importance,
        )
        if any(gates.values()):
            computed["gate_use.json"] = gates
    return [*_write(run.path, drawn, computed), run_page.write(run.path)]


def inspect_client(
    path: pathlib.Path, importance: Optional[Importance] = None
) -> "list[pathlib.Path]":
    """Writes what a silo's model does on the silo's own rows; for the silo's machine.

    Returns:
      the files.

    Raises:
      PfrecError: where a file is damaged, or the rows are not those that it was trained on.
    """
    from pfrec import client_model

    client = client_model.ClientModel(path)
    data = client.own_data()
    if data is None:
        raise errors.PfrecError(
            f"{path}: its data are gone, or others than it was trained on; put them back"
        )
    computed = _inspected(
        [client.record.scenario],
        lambda scenario: client.load(),
        data,
        client.schema,
        client.record.round,
        importance,
    )
    return _write(path, {}, computed)


def _write(
    path: pathlib.Path, drawn: "Mapping[str, str]", computed: "Mapping[str, Any]"
) -> "list[pathlib.Path]":
    from pfrec import files

    content = {name: chart.encode() for name, chart in drawn.items()}
    content.update((name, files.json_text(value).encode()) for name, value in computed.items())
    for name, text in content.items():
        files.write_bytes(path / "diagnostics" / name, text)
    return [path / "diagnostics" / name for name in sorted(content)]


def _inspected(
    scenarios: Iterable[str],
    load: "Callable[[str], Any]",
    dataset: "dataset_lib.Dataset",
    schema: "schema_lib.Schema",
    best: int,
    importance: Optional[Importance],
) -> "dict[str, Any]":
    """What models of the best round do on their scenarios' own rows, by file."""
    from pfrec import inspection

    calibrations, worth = {}, {}
    for scenario in scenarios:
        predict = inspection.predictor(load(scenario), schema)
        rows = inspection.read_rows(dataset.shards(scenario, "test"), schema)
        calibrations[scenario] = inspection.calibration(
            rows.labels, predict(rows), [task.name for task in schema.tasks]
        )
        if importance:
            valid = dataset.shards(scenario, "valid")
            worth[scenario] = inspection.importance(
                predict,
                inspection.read_rows(valid, schema, importance.rows),
                schema,
                repeats=importance.repeats,
                seed=importance.seed,
            )
    found: dict[str, Any] = {
        "calibration.json": {"split": "test", "round": best, "scenarios": calibrations}
    }
    if importance:
        found["importance.json"] = {
            **dataclasses.asdict(importance),
            "split": "valid",
            "round": best,
            "features": [feature.name for feature in inspection.features(schema)],
            "scenarios": worth,
        }
    return found


def _told(found: "Mapping[str, Any]") -> "list[str]":
    """The features that matter most, a line for each scenario and task."""
    lines = [f"AUC on valid that is lost without a feature, the first {_SHOWN}:"]
    for scenario, tasks in found["scenarios"].items():
        for task, features in tasks.items():
            known = {name: value["mean"] for name, value in features.items() if value}
            best = sorted(known, key=lambda name: -known[name])[:_SHOWN]
            told = ", ".join(f"{name} {known[name]:.4f}" for name in best)
            lines.append(f"  {scenario} {task}: {told or 'rows of one class'}")
    return lines


def gate_use(run: "run_directory.RunDirectory", round_number: int) -> "GateUse":
    """The mean weight of each expert in the gate of each task over a scenario's valid rows, after a
    kept round; empty without gates.
    """
    import numpy as np
    import tensorflow as tf

    from pfrec import run_model
    from pfrec.data.dataset import pipeline
    from pfrec.models.mmoe import mmoe

    found: dict[str, dict[str, list[float]]] = {}
    for scenario in run.scenarios:
        model = run_model.load(run, scenario, round_number)
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


if __name__ == "__main__":
    main()
