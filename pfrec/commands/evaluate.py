"""pfrec-evaluate: evaluates the saved models of a run afresh, on its own rows or on others.

pfrec-evaluate --run=run
pfrec-evaluate --run=run --data=next_week --split=train
"""

import pathlib

from absl import flags

from pfrec import command, errors


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
    from pfrec import cells, evaluation, files, run_data, run_directory

    result = evaluation.evaluate(path, split=f.split, data=f.data)
    nan = []
    print(f"{'scenario':<16} {'task':<12} {'rows':>8} {'auc':>9} {'logloss':>9}")
    for scenario, tasks in result.items():
        for task, cell in tasks.items():
            texts = (cells.text(cell, "rows", ".0f"), cells.text(cell, "auc"))
            print(
                f"{scenario:<16} {task:<12} {texts[0]:>8} {texts[1]:>9} "
                f"{cells.text(cell, 'logloss'):>9}"
            )
            nan += [f"{scenario} {task}"] * cells.predicts_nan(cell)
    run = run_directory.open_run(path)
    data = run.data(None if f.data is None else pathlib.Path(f.data))
    others = [name for name in run_data.changed(run.config, data) if name in result]
    if others:
        print(f"on {data.path}, which holds other rows of {', '.join(others)} than the run's own")
    written = path / "evaluation.json"
    value = {"split": f.split, "round": run.summary["best_round"], "metrics": result, "nan": nan}
    value.update(data=str(data.path), same_rows_as_trained=not others)
    files.write_json(written, value)
    print(f"wrote {written}")
    if nan:
        raise errors.PfrecError(
            f"predictions of {', '.join(nan)} are NaN; train again with a smaller --learning_rate, "
            "or with numerical columns normalised"
        )


if __name__ == "__main__":
    main()
