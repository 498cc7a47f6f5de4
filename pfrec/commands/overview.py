"""pfrec: lists the commands, and runs one of them.

pfrec
pfrec train --data=data --output=run     # the same as pfrec-train --data=data --output=run
"""

import difflib
import importlib
import sys

# By name: the module whose `main` is the command, and what it does. Modules of upper floors are
# named, not imported: this is the ground floor.
COMMANDS = {
    "convert": ("pfrec.commands.convert", "raw files to per-scenario data"),
    "train": ("tff_process.commands.train", "trains one algorithm, writes a run directory"),
    "status": ("pfrec.commands.status", "how far a run is"),
    "report": ("pfrec.commands.report", "the page of a run or a comparison, written anew"),
    "evaluate": ("export.commands.evaluate", "evaluates a run's models afresh, or exported ones"),
    "compare": ("tff_process.commands.compare", "many algorithms on the same splits and seeds"),
    "diagnose": (
        "tff_process.commands.diagnose",
        "draws a run's conflicts, attention and gates, what features are worth",
    ),
    "export": ("export.commands.export", "one verified SavedModel for each scenario"),
    "predict": ("export.commands.predict", "scores rows of files with a run's or exported models"),
    "audit": ("export.commands.audit", "what a run's models tell of their training rows"),
    "verify": ("export.commands.verify", "checks exports, or a running model server"),
    "worker": ("tff_process.commands.worker", "serves one silo's data to a training"),
    "agreement": ("tff_process.commands.agreement", "writes down what a silo lets out"),
    "ledger": ("tff_process.commands.ledger", "reads what a silo let out"),
    "certificates": ("tff_process.commands.certificates", "makes certificates of driver and silos"),
}


def text() -> str:
    """The commands, a line each, and how to begin."""
    import pfrec

    width = max(map(len, COMMANDS)) + len("pfrec-")
    lines = [f"pfrec {pfrec.__version__}: {(pfrec.__doc__ or '').splitlines()[0]}", ""]
    lines += [f"  {'pfrec-' + name:<{width}}  {does}" for name, (_, does) in COMMANDS.items()]
    lines += [
        "",
        "A first run, on built-in data:",
        "",
        "  pfrec-train --data=synthetic --synthetic_rows=4000 --rounds=3 --output=run",
        "  pfrec-export --run=run --output=serving",
        "",
        "pfrec-COMMAND --help says more of each.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Entry point of `pfrec`."""
    import pfrec
    from pfrec import command

    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "-?", "--help", "--helpfull", "help"):
        command.answer(text())
    elif name == "--version":
        print(f"pfrec {pfrec.__version__}")
    elif name in COMMANDS:
        sys.argv[:2] = [f"pfrec-{name}"]
        importlib.import_module(COMMANDS[name][0]).main()
    else:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        print(f"error: {name}: no such command; {meant}pfrec lists them", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
