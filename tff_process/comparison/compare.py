"""A comparison as one call, for programs; `pfrec-compare` tunes, draws and tabulates more."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Union

from pfrec import errors, files
from pfrec.data.dataset import dataset as dataset_lib
from tff_process import plan as plan_lib
from tff_process.comparison import entries, report, runs, standings
from tff_process.runtime import options as options_lib
from tff_process.training import checks


def compare(
    plans: Sequence[plan_lib.Plan],
    dataset: dataset_lib.Dataset,
    output: Union[str, "os.PathLike[str]"],
    *,
    seeds: int = 1,
    options: options_lib.Options = options_lib.Options(),
) -> "list[runs.Cell]":
    """Trains several algorithms on the same rows, splits and seeds; writes results.csv and
    results.md.

    Runs that are finished in `output` are not repeated, interrupted ones continue.

        >>> import pfrec
        >>> data = pfrec.Dataset.open("data")
        >>> shape = pfrec.Plan("local", rounds=1, aggregations=1, batch_size=64)
        >>> cells = pfrec.compare([shape], data, "comparison")
        >>> [(cell.entry.name, cell.seed, 0 < cell.auc < 1) for cell in cells]
        [('local', 0, True)]

    Args:
      plans: one for each algorithm; their seeds do not count.
      dataset: on what.
      output: the directory to write, new or begun by the same comparison.
      seeds: how many seeds each plan is trained with: 0, 1, ...
      options: how it is executed, which does not change what comes out.

    Returns:
      A cell for each plan and seed, in order.

    Raises:
      PfrecError: where two plans are of one algorithm, one cannot be trained on these data, which
        is told before any is, or a run there was made by another plan or on other data.
    """
    for plan in plans:
        checks.check_given(plan, dataset)
    path = pathlib.Path(output)
    names = [plan.name for plan in plans]
    if not names or len(set(names)) != len(names):
        raise errors.PfrecError(
            f"compare: plans of {', '.join(names) or 'nothing'}; give one plan for each algorithm, "
            "and compare settings of one algorithm in directories of their own"
        )
    runs.prepare(path)
    planned = [
        (entries.Entry(plan.name, plan.name), dataclasses.replace(plan, seed=seed))
        for plan in plans
        for seed in range(seeds)
    ]
    runner = runs.Runner(
        dataset,
        path,
        progress=lambda entry, plan: contextlib.nullcontext(lambda number, score: None),
        options=options,
    )
    runner.check(planned)
    cells = runner.compare(planned)
    target = standings.target_auc(cells, standings.standings(cells))
    files.write_csv(path / "results.csv", runs.HEADER, runs.long_rows(cells))
    files.write_bytes(path / "results.md", report.markdown(cells, dataset, target, "").encode())
    return cells
