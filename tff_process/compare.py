"""`pfrec-compare`: trains many algorithms on the same data, splits and seeds, and tabulates them."""

import pathlib

from absl import flags

from pfrec import command, errors
from tff_process import training_flags


def main() -> None:
    """Entry point of `pfrec-compare`."""
    training_flags.define()
    flags.DEFINE_list(
        "algorithms", ["local", "fedavg", "pf_msmtrec", "pooled_mmoe"], "Algorithms; an unknown name lists the known ones."
    )
    flags.DEFINE_integer("seeds", 5, "How many seeds each algorithm is trained with: 0, 1, ...", lower_bound=1)
    command.run(_main)


def _main(argv: "list[str]") -> None:
    del argv
    f = flags.FLAGS
    if not f.algorithms or len(set(f.algorithms)) != len(f.algorithms):
        raise errors.PfrecError(f"--algorithms={','.join(f.algorithms)}: name each algorithm once, at least one")
    from pfrec import files
    from tff_process import comparison, train
    from tff_process.algorithms import registry

    for name in f.algorithms:
        registry.check(name)
    output = pathlib.Path(f.output)
    comparison.prepare(output)
    dataset = train.open_data(f.data, output / "runs" / "data", f.synthetic_scenarios, f.synthetic_rows, 0)
    plans = [training_flags.plan(name, seed) for seed in range(f.seeds) for name in f.algorithms]
    print(f"comparing {', '.join(f.algorithms)} on {dataset.path}, {f.seeds} seed(s), {f.rounds} rounds", flush=True)
    summaries = comparison.compare(
        plans,
        dataset,
        output,
        options=training_flags.options(),
        progress=lambda plan: train.progress(plan.rounds, f"{plan.algorithm} seed {plan.seed} "),
    )
    text = comparison.markdown(summaries, plans, dataset)
    files.write_csv(output / "results.csv", comparison.HEADER, comparison.long_rows(summaries))
    files.write_bytes(output / "results.md", text.encode())
    files.write_json(output / "winner.json", comparison.winner(summaries, output))
    print(text)
    print(f"wrote {output / 'results.csv'} and {output / 'results.md'}")


if __name__ == "__main__":
    main()
