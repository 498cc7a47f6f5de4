"""pfrec-audit: what a run's models tell of the rows and ids that they were trained on.

pfrec-audit --run=run
pfrec-audit --client_dir=/srv/silo      # on a silo's own machine, of its own model

Tries attacks on each scenario's model as it was trained, as pfrec-export would write it, and with
the values that it was sent last, with the scenario's own rows, and writes audit.json and
audit.html. What the attacks are, and what their figures mean beside an epsilon of differential
privacy, docs/privacy.md says.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from pfrec import command, errors, text_table
from pfrec.data import names

if TYPE_CHECKING:
    from export.scoring import membership

_NOTE = "0.5 is chance and 1 certainty; bars are 95% intervals. Better attacks may find more."


def main() -> None:
    """Entry point of `pfrec-audit`."""
    flags.DEFINE_string("run", None, "A finished run directory, as pfrec-train wrote it.")
    flags.DEFINE_string(
        "data", None, "With --run: where its data are now; it finds them where they were by itself."
    )
    flags.DEFINE_string(
        "client_dir",
        None,
        "In place of --run: the directory of a silo whose training is finished; nothing of another "
        "silo is read.",
    )
    flags.DEFINE_string(
        "output", None, "Where to write; the directory of --run or --client_dir where not given."
    )
    flags.DEFINE_list("scenario", [], "These scenarios alone; all where not given.")
    flags.DEFINE_integer(
        "rows", 20_000, "Training and test rows of a scenario, at most.", lower_bound=100
    )
    flags.DEFINE_integer(
        "least_rows", 8, "Of pfrec-export: what its models are attacked with.", lower_bound=0
    )
    flags.DEFINE_integer(
        "shadows",
        4,
        "Models of half of a scenario's rows that are trained to compare with, an even number; 0 "
        "leaves out what needs them: calibrated losses, the likelihood ratio and the control.",
        lower_bound=0,
    )
    command.run(_main)


def _main(argv: "list[str]") -> None:
    del argv
    f = flags.FLAGS
    if f.shadows % 2:
        raise errors.PfrecError(
            f"--shadows={f.shadows}: each row is in half of them; give an even number"
        )
    path = command.require_run_or_client(f.run, f.client_dir)
    if f.client_dir:
        command.refuse_idle(["data"], "is of --run")
    from export.exporting import trained
    from export.scoring import membership

    source: trained.Source
    if f.run:
        source = trained.Run(path, pathlib.Path(f.data) if f.data else None)
    else:
        source = trained.ClientDirectory(path)
    wanted = [names.meant(scenario, source.scenarios) for scenario in f.scenario]
    unknown = [name for name in wanted if name not in source.scenarios]
    if unknown:
        raise errors.PfrecError(
            f"--scenario={unknown[0]}: there is none of this name; there are "
            f"{', '.join(source.scenarios)}"
        )
    limits = membership.Limits(f.rows, f.least_rows, f.shadows)
    found = [
        finding
        for name in wanted or source.scenarios
        for finding in membership.audit(source, name, limits, _say)
    ]
    print("\n".join(_told(found)))
    for written in write(found, pathlib.Path(f.output) if f.output else path):
        print(f"wrote {written}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def write(found: "Sequence[membership.Finding]", directory: pathlib.Path) -> "list[pathlib.Path]":
    """Writes audit.json and audit.html.

    Raises:
      PfrecError: where the directory cannot be written to.
    """
    from pfrec import files

    findings = [{**dataclasses.asdict(one), "tells": one.tells} for one in found]
    files.write_json(directory / "audit.json", {"findings": findings})
    with files.readable_errors(directory):
        (directory / "audit.html").write_text(page(found), encoding="utf-8")
    return [directory / "audit.json", directory / "audit.html"]


def page(found: "Sequence[membership.Finding]") -> str:
    """A picture of each scenario's attacks, and their figures."""
    from pfrec.report import figures, markup

    parts = []
    for scenario in dict.fromkeys(one.scenario for one in found):
        own = [one for one in found if one.scenario == scenario]
        models = list(dict.fromkeys(one.model for one in own))
        dots = [
            figures.Dot(
                f"{one.attack}, {one.model}", one.auc, one.half_width, models.index(one.model)
            )
            for one in own
        ]
        head = ("model", "attack", "AUC", "±", "found at 1% false alarms", "members", "others")
        body = [
            (
                one.model,
                one.attack,
                f"{one.auc:.4f}",
                f"{one.half_width:.4f}",
                f"{one.found:.1%}",
                f"{one.members:,}",
                f"{one.others:,}",
            )
            for one in own
        ]
        chart = figures.dots("AUC of each attack", dots)
        parts.append(markup.section(scenario, chart, markup.table(head, body), note=_NOTE))
    return markup.page("What the models tell of their training rows", *parts)


def _told(found: "Sequence[membership.Finding]") -> "list[str]":
    """A line for each finding."""
    lines = [("scenario", "model", "attack", "auc", "+-", "at 1%", "tells")]
    for one in found:
        numbers = (f"{one.auc:.4f}", f"{one.half_width:.4f}", f"{one.found:.1%}")
        tells = "yes" if one.tells else "no"
        lines.append((one.scenario, one.model, one.attack, *numbers, tells))
    return text_table.aligned(lines, "lllrrrl")


if __name__ == "__main__":
    main()
