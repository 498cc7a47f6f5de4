"""pfrec-evaluate: evaluates a run's saved models afresh, or exported ones, on converted rows.

pfrec-evaluate --run=run
pfrec-evaluate --run=run --data=next_week --split=train
pfrec-evaluate --serving=serving --data=next_week
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

from pfrec import command, errors, text_table

FILE = "evaluation.json"  # in the run or serving directory


def main() -> None:
    """Entry point of `pfrec-evaluate`."""
    define_flags()
    command.run(_main)


def define_flags() -> None:
    """Declares the command's flags. In a function, so that commands with flags of the same name can
    be imported together.
    """
    flags.DEFINE_string("run", None, "A finished run directory, as pfrec-train wrote it.")
    flags.DEFINE_string(
        "serving",
        None,
        "In place of --run: what pfrec-export wrote, of which the versions are evaluated that a "
        "server would serve.",
    )
    flags.DEFINE_string(
        "data",
        None,
        "A directory that pfrec-convert wrote by the run's schema, with its vocabularies or "
        "others; with --run its own data where not given. Scenarios that both know are evaluated.",
    )
    flags.DEFINE_enum("split", "test", ["train", "valid", "test"], "The rows to evaluate on.")


def _main(argv: list[str]) -> None:
    del argv
    f = flags.FLAGS
    if bool(f.run) == bool(f.serving):
        raise errors.PfrecError("give one of --run and --serving")
    if f.serving and f.data is None:
        raise errors.PfrecError("--serving: name the rows to evaluate on with --data")
    path = pathlib.Path(f.run or f.serving)
    if f.run:
        command.require_run(path)
    elif not path.is_dir():
        raise errors.PfrecError(f"{path}: no such directory; check --serving")
    if f.data is not None:
        command.require_data(f.data)
    from pfrec import files

    value = _of_run(path) if f.run else _of_serving(path)
    nan = _tell(value["metrics"])
    strange = [name for name in value.pop("scenarios") if name not in value["metrics"]]
    if strange:
        print(f"left out, as there is no model of them: {', '.join(strange)}")
    others = value.pop("others", [])
    if others:
        names = ", ".join(others)
        print(f"on {value['data']}, which holds other rows of {names} than the run's own")
    written = path / FILE
    files.write_json(written, {**value, "nan": nan})
    print(f"wrote {written}")
    if nan:
        raise errors.PfrecError(
            f"predictions of {', '.join(nan)} are NaN; train again with a smaller --learning_rate, "
            "or with numerical columns normalised"
        )


def _of_run(path: pathlib.Path) -> "dict[str, Any]":
    from pfrec import evaluation, run_data, run_directory
    from pfrec.data.dataset import dataset as dataset_lib

    f = flags.FLAGS
    run = run_directory.open_run(path)
    data = run.dataset if f.data is None else dataset_lib.Dataset.open(f.data)
    known = [name for name in run.scenarios if name in data.scenarios]
    if all(data.client_schema(name) == run.client_schema(name) for name in known):
        result = evaluation.evaluate(path, split=f.split, data=f.data)
    else:
        from export.scoring import evaluate, models

        print(f"{data.path}: encoded otherwise than the run's rows; its models are asked raw ones")
        result = evaluate.evaluate(models.RunModels(path), f.data, split=f.split)
    others = [name for name in run_data.changed(run.config, data) if name in result]
    return {
        "split": f.split,
        "round": run.summary["best_round"],
        "metrics": result,
        "data": str(data.path),
        "same_rows_as_trained": not others,
        "others": others,
        "scenarios": data.scenarios,
    }


def _of_serving(path: pathlib.Path) -> "dict[str, Any]":
    from export.scoring import evaluate, models
    from pfrec.data.dataset import dataset as dataset_lib

    f = flags.FLAGS
    return {
        "split": f.split,
        "metrics": evaluate.evaluate(models.ServedModels(path), f.data, split=f.split),
        "data": f.data,
        "scenarios": dataset_lib.Dataset.open(f.data).scenarios,
    }


def _tell(result: "Mapping[str, Any]") -> "list[str]":
    """Prints the table; the scenarios and tasks whose predictions are NaN."""
    from pfrec import cells

    nan: list[str] = []
    lines = [("scenario", "task", "rows", "auc", "logloss")]
    for scenario, tasks in result.items():
        for task, cell in tasks.items():
            texts = (cells.text(cell, "auc"), cells.text(cell, "logloss"))
            lines.append((scenario, task, cells.text(cell, "rows", ".0f"), *texts))
            nan += [f"{scenario} {task}"] * cells.predicts_nan(cell)
    print("\n".join(text_table.aligned(lines, "llrrr")))
    return nan


if __name__ == "__main__":
    main()
