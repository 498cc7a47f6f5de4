"""`pfrec-compare`: trains many algorithms on the same data, splits and seeds, and tabulates them."""

import pathlib
from typing import TYPE_CHECKING, Any, Optional

from absl import flags

from pfrec import command, errors
from tff_process import training_flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tff_process import comparison


def main() -> None:
    """Entry point of `pfrec-compare`."""
    training_flags.define()
    flags.DEFINE_list(
        "algorithms",
        ["local", "fedavg", "pf_msmtrec", "pooled_mmoe"],
        "Algorithms; an unknown name lists the known ones. NAME:GROUP=shared:GROUP=private runs one under a sharing policy of its own, as "
        "fedbn:embedding/*=shared; of several entries of an algorithm, the best on valid speaks for it.",
    )
    flags.DEFINE_integer("seeds", 5, "How many seeds each algorithm is trained with: 0, 1, ...", lower_bound=1)
    flags.DEFINE_float(
        "target_auc", 0.0, "The mean valid AUC whose cost in bytes is told; 0 takes the largest that all reach.", lower_bound=0.0
    )
    command.run(_main)


def _main(argv: "list[str]") -> None:
    del argv
    f = flags.FLAGS
    if not f.algorithms or len(set(f.algorithms)) != len(f.algorithms):
        raise errors.PfrecError(f"--algorithms={','.join(f.algorithms)}: name each algorithm once, at least one")
    from pfrec import files
    from tff_process import comparison, entries, results, standings, train

    asked = [entries.Entry.parse(text) for text in f.algorithms]
    output = pathlib.Path(f.output)
    comparison.prepare(output)
    dataset = train.open_data(f.data, output / "runs" / "data", training_flags.synthetic(), 0)
    # Seed by seed within an entry, so that what was traced for one seed serves the others.
    planned = [(entry, training_flags.plan(entry.algorithm, seed, entry.sharing)) for entry in asked for seed in range(f.seeds)]
    print(f"comparing {', '.join(f.algorithms)} on {dataset.path}, {f.seeds} seed(s), {f.rounds} rounds", flush=True)
    cells = comparison.compare(
        planned,
        dataset,
        output,
        options=training_flags.options(),
        progress=lambda entry, plan: train.progress(plan.rounds, f"{entry.name} seed {plan.seed} "),
    )
    rows = standings.standings(cells)
    target: Optional[float] = f.target_auc or standings.target_auc(cells, rows)
    text = results.markdown(cells, dataset, target)
    files.write_csv(output / "results.csv", comparison.HEADER, comparison.long_rows(cells))
    files.write_bytes(output / "results.md", text.encode())
    files.write_json(output / "results.json", results.to_json(cells, {e.name: plan for e, plan in planned}, dataset, target))
    for name, chart in _charts(cells, rows).items():
        files.write_bytes(output / name, chart.encode())
    files.write_json(output / "winner.json", standings.winner(cells, output))
    print(text)
    print(f"wrote {output / 'results.csv'} and {output / 'results.md'}")


def _charts(cells: "Sequence[comparison.Cell]", rows: "Sequence[Any]") -> "dict[str, str]":
    """The charts of a comparison by file name."""
    from tff_process import charts, standings

    auc = [charts.Dot(row.entry, row.mean, row.deviation, int(not row.federated)) for row in rows]
    drawn = {"results.svg": charts.dots("Test AUC by algorithm", "mean test AUC, with its deviation over seeds; red: pooled", auc)}
    talking = [row for row in rows if standings.communicates(cells, row)]
    if talking:
        curves = [
            charts.Line(row.entry, [(n * row.round_bytes / 1e6, v) for n, v in enumerate(standings.curve(cells, row.entry), 1)])
            for row in talking
        ]
        drawn["communication.svg"] = charts.lines(
            "AUC against communication", "MB, all clients, both ways", "mean valid AUC", curves
        )
    return drawn


if __name__ == "__main__":
    main()
