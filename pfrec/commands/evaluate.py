"""pfrec-evaluate: evaluates the saved models of a run afresh, on its own rows or on others.

pfrec-evaluate --run=run
pfrec-evaluate --run=run --data=next_week --split=train
"""

import pathlib

from absl import flags

from pfrec import command


def main() -> None:
    """Entry point of `pfrec-evaluate`."""
    flags.DEFINE_string(
        "run", None, "A finished run directory, as pfrec-train wrote it.", required=True
    )
    flags.DEFINE_string(
        "data",
        None,
        "A directory that pfrec-convert wrote with the run's schema; the run's own data where not "
        "given. Every scenario that both know is evaluated.",
    )
    flags.DEFINE_enum("split", "test", ["train", "valid", "test"], "The rows to evaluate on.")
    command.run(_main)


def _main(argv: list[str]) -> None:
    del argv
    f = flags.FLAGS
    path = pathlib.Path(f.run)
    command.require_run(path)
    if f.data is not None:
        command.require_data(f.data)
    from pfrec import evaluation, files, run_directory

    result = evaluation.evaluate(path, split=f.split, data=f.data)
    print(f"{'scenario':<16} {'task':<12} {'rows':>8} {'auc':>9} {'logloss':>9}")
    for scenario, tasks in result.items():
        for task, cell in tasks.items():
            auc = "one class" if cell["auc"] is None else f"{cell['auc']:9.4f}"
            print(
                f"{scenario:<16} {task:<12} {int(cell['rows'] or 0):>8} {auc} "
                f"{cell['logloss'] or 0.0:9.4f}"
            )
    run = run_directory.open_run(path)
    written = path / "evaluation.json"
    value = {"split": f.split, "round": run.summary["best_round"], "metrics": result}
    files.write_json(written, value if f.data is None else {**value, "data": f.data})
    print(f"wrote {written}")


if __name__ == "__main__":
    main()
