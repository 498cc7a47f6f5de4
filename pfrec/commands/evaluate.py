"""`pfrec-evaluate`: evaluates the saved models of a run afresh."""

import pathlib

from absl import flags

from pfrec import command


def main() -> None:
    """Entry point of `pfrec-evaluate`."""
    flags.DEFINE_string(
        "run", None, "A finished run directory, as pfrec-train wrote it.", required=True
    )
    flags.DEFINE_enum("split", "test", ["train", "valid", "test"], "The rows to evaluate on.")
    command.run(_main)


def _main(argv: list[str]) -> None:
    del argv
    import tensorflow as tf

    from pfrec import evaluation, files, metrics, run_directory

    run = run_directory.open_run(pathlib.Path(flags.FLAGS.run))
    run.dataset.verify()
    split = flags.FLAGS.split
    result: dict[str, dict[str, dict[str, object]]] = {}
    print(f"{'scenario':<16} {'task':<12} {'rows':>8} {'auc':>9} {'logloss':>9}")
    for scenario in run.scenarios:
        evaluator = evaluation.Evaluator(run.load_model(scenario), run.schema)
        values = evaluator(tf.constant(run.dataset.shards(scenario, split))).numpy()
        for task, row in zip(run.schema.tasks, values.tolist()):
            cell = {
                metric: None if value != value else value
                for metric, value in zip(metrics.METRICS, row)
            }
            result.setdefault(scenario, {})[task.name] = cell
            auc = "one class" if cell["auc"] is None else f"{cell['auc']:9.4f}"
            print(
                f"{scenario:<16} {task.name:<12} {int(row[metrics.METRICS.index('rows')]):>8} "
                f"{auc} {cell['logloss'] or 0.0:9.4f}"
            )
    path = run.path / "evaluation.json"
    files.write_json(path, {"split": split, "round": run.summary["best_round"], "metrics": result})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
