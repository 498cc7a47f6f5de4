"""Which scenarios of a dataset can be trained on, as its counts tell before the first round.

A scenario need not serve every task: one whose training rows hold no observed label of a task takes
no part in what concerns that task, and has no metrics of it. What nothing can be learned from is
named, all scenarios together, before anything is trained.
"""

from collections.abc import Sequence

from pfrec import amounts, errors
from pfrec.data import names
from pfrec.data.dataset import dataset as dataset_lib


def serves(dataset: dataset_lib.Dataset, scenario: str, task: str) -> bool:
    """Whether a scenario's training rows hold labels of a task."""
    return dataset.observed(scenario, "train", task) > 0


def not_served(dataset: dataset_lib.Dataset) -> "dict[str, tuple[str, ...]]":
    """By scenario, the tasks that it does not serve; scenarios that serve all are left out."""
    found = {
        scenario: tuple(
            t.name for t in dataset.schema.tasks if not serves(dataset, scenario, t.name)
        )
        for scenario in dataset.scenarios
    }
    return {scenario: tasks for scenario, tasks in found.items() if tasks}


def chosen(
    dataset: dataset_lib.Dataset, skip: "Sequence[str]" = (), min_rows: int = 0
) -> dataset_lib.Dataset:
    """The dataset without some of its scenarios.

    Args:
      dataset: with its counts.
      skip: scenarios to leave out, by name or by value in the raw files.
      min_rows: scenarios with fewer training rows are left out too.

    Raises:
      PfrecError: where a name is none of its, or no scenario is left.
    """
    skip = [names.meant(scenario, dataset.scenarios) for scenario in skip]
    strange = [name for name in skip if name not in dataset.scenarios]
    if strange:
        raise errors.PfrecError(
            f"--skip_scenarios: {dataset.path} has no scenario {', '.join(strange)}; it has "
            f"{', '.join(dataset.scenarios)}"
        )
    rows = {name: dataset.rows(name, "train") for name in dataset.scenarios}
    kept = [name for name in dataset.scenarios if name not in skip and rows[name] >= min_rows]
    if not kept:
        raise errors.PfrecError(
            f"{dataset.path}: no scenario is left; the largest has {max(rows.values()):,} training "
            "rows: lower --min_rows or skip fewer"
        )
    return dataset if len(kept) == len(rows) else dataset.only(kept)


def require(dataset: dataset_lib.Dataset, *, classes: bool = True) -> None:
    """Checks that something can be learned from every scenario.

    Args:
      dataset: to train on.
      classes: whether the counts of positives are known, as those of silos are to themselves alone.

    Raises:
      PfrecError: naming all scenarios that nothing can be learned from, or the tasks that none
        has labels of.
    """
    troubles = _troubles(dataset, classes)
    if troubles:
        told = "; ".join(f"{name} has {what}" for name, what in troubles.items())
        remedy = "give it more rows"  # A silo has one scenario, and no flag to leave it out by.
        if len(dataset.scenarios) > 1:
            remedy = (
                "give them more rows, or leave them out with "
                f"--skip_scenarios={','.join(troubles)} or --min_rows"
            )
        raise errors.PfrecError(
            f"{dataset.path}: nothing can be learned from "
            f"{amounts.amount(len(troubles), 'scenario')}: {told}; {remedy}"
        )
    for task in dataset.schema.tasks:
        if not any(serves(dataset, name, task.name) for name in dataset.scenarios):
            raise errors.PfrecError(
                f"{dataset.path}: no scenario has labels of {task.name} in its training rows; take "
                "the task out of the schema and convert again"
            )


def _troubles(dataset: dataset_lib.Dataset, classes: bool) -> "dict[str, str]":
    found = {}
    for scenario in dataset.scenarios:
        counts = dataset.counts[scenario]["train"]
        served = [t.name for t in dataset.schema.tasks if serves(dataset, scenario, t.name)]
        if counts.rows < 2:
            found[scenario] = "one training row"
        elif not served:
            found[scenario] = "no label of any task among its training rows"
        elif classes and all(_of_one_class(counts, task) for task in served):
            found[scenario] = f"labels of one class alone ({', '.join(served)})"
    return found


def notes(dataset: dataset_lib.Dataset, *, classes: bool = True) -> "list[str]":
    """What a user should know of the scenarios that are trained on, a line each; arguments: see
    `require`.
    """
    lines = []
    unserved = not_served(dataset)
    if unserved:
        told = "; ".join(f"{name}: {', '.join(tasks)}" for name, tasks in unserved.items())
        lines.append(f"no labels in training, so these tasks are not served there: {told}")
    for split, what in (
        (
            "train",
            "nothing is learned there of these tasks, whose training labels are of one class",
        ),
        ("valid", "of one class on valid, so they do not count where a round is chosen"),
        ("test", "of one class on test, so they have no AUC"),
    ):
        found = _one_class(dataset, split) if classes else {}
        if found:
            lines.append(f"{what}: {'; '.join(f'{n}: {t}' for n, t in found.items())}")
    return lines


def _one_class(dataset: dataset_lib.Dataset, split: str) -> "dict[str, str]":
    found = {}
    for scenario in dataset.scenarios:
        tasks = [
            t.name
            for t in dataset.schema.tasks
            if serves(dataset, scenario, t.name)
            and _of_one_class(dataset.counts[scenario][split], t.name)
        ]
        if tasks:
            found[scenario] = ", ".join(tasks)
    return found


def _of_one_class(counts: dataset_lib.Counts, task: str) -> bool:
    return counts.positives[task] in (0, counts.observed[task])
