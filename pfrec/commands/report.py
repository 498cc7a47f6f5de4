"""pfrec-report: writes the page of a run or a comparison anew, from its files alone.

pfrec-report --run=run
pfrec-report --comparison=comparison

pfrec-train, pfrec-compare and pfrec-diagnose write it themselves; this one also tells of a run that
is not finished. The page is one file, which asks for nothing from elsewhere.
"""

import pathlib

from absl import flags

from pfrec import command, errors


def main() -> None:
    """Entry point of `pfrec-report`."""
    flags.DEFINE_string("run", None, "A run directory of pfrec-train, finished or not.")
    flags.DEFINE_string("comparison", None, "A directory that pfrec-compare wrote.")
    command.run(_main)


def _main(argv: "list[str]") -> None:
    del argv
    f = flags.FLAGS
    if (f.run is None) == (f.comparison is None):
        raise errors.PfrecError("give --run or --comparison, one of them; --help says more")
    from pfrec.report import comparison_page, run_page

    if f.run is not None:
        command.require_run(pathlib.Path(f.run))
        print(f"wrote {run_page.write(pathlib.Path(f.run))}")
        return
    remedy = "name the directory that pfrec-compare wrote as --comparison"
    command.require_file(pathlib.Path(f.comparison) / "results.json", remedy)
    print(f"wrote {comparison_page.write(pathlib.Path(f.comparison))}")


if __name__ == "__main__":
    main()
