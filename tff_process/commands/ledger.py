"""pfrec-ledger: prints what left a silo, verifies it, and compares it with a driver's manifest.

pfrec-ledger --client_dir=/srv/pfrec/nl --manifest=privacy_manifest.json
"""

import collections
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from pfrec import amounts, command, errors, run_records
from tff_process.silos import ledger


def main() -> None:
    """Entry point of `pfrec-ledger`."""
    flags.DEFINE_string(
        "client_dir", None, "The silo's directory, with ledger.jsonl in it.", required=True
    )
    flags.DEFINE_string(
        "manifest",
        None,
        "The driver's privacy_manifest.json, to compare with the last agreement's entries.",
    )
    flags.DEFINE_bool("entries", False, "Print every entry, not their sums alone.")
    command.run(_main)


def _main(argv: "list[str]") -> None:
    del argv
    f = flags.FLAGS
    path = pathlib.Path(f.client_dir) / ledger.FILE
    entries, last = ledger.read(path)
    if f.entries:
        for entry in entries:
            print(_line(entry))
    print("\n".join([*table(entries), *receivers(entries)]))
    print(f"{len(entries)} entries, the chain is whole; the last one's hash is {last}")
    if f.manifest is not None:
        manifest = run_records.read_manifest(
            pathlib.Path(f.manifest), "copy it from the driver's run directory"
        )
        found = ledger.differences(entries, manifest)
        if found:
            for line in found[:20]:
                print(line)
            raise errors.PfrecError(
                f"{path}: {amounts.amount(len(found), 'difference')} to {f.manifest}; ask the "
                "driver's owner, and see the lines above"
            )
        print(f"what left is what {f.manifest} names")


def table(entries: "Sequence[Mapping[str, Any]]") -> "list[str]":
    """Sums by agreement and kind, as text."""
    sums: dict[tuple[str, str], list[Any]] = {}
    for entry in entries:
        row = sums.setdefault((entry["agreement"], entry["what"]), [0, 0, entry["time"], ""])
        row[0], row[1], row[3] = row[0] + 1, row[1] + entry["message_bytes"], entry["time"]
    lines = [f"{'agreement':<14} {'what':<16} {'times':>6} {'bytes':>12}  {'first':<25} last"]
    lines += [
        f"{agreement[:12]:<14} {what:<16} {times:>6} {size:>12}  {first:<25} {last}"
        for (agreement, what), (times, size, first, last) in sums.items()
    ]
    return [*lines, *privacy_spent(entries)]


def privacy_spent(entries: "Sequence[Mapping[str, Any]]") -> "list[str]":
    """What reports have spent of differential privacy, by agreement and together, as text: budgets
    of several agreements on the same rows add up.
    """
    spent = {e["agreement"]: e for e in entries if "epsilon_spent" in e}
    lines = [
        f"{agreement[:12]}: epsilon {entry['epsilon_spent']:.3f} spent at delta "
        f"{entry['delta']:.3g}"
        for agreement, entry in spent.items()
    ]
    if len(spent) > 1:
        epsilon, delta = (
            sum(entry[name] for entry in spent.values()) for name in ("epsilon_spent", "delta")
        )
        lines.append(f"together: epsilon {epsilon:.3f} at delta {delta:.3g}")
    return lines


def receivers(entries: "Sequence[Mapping[str, Any]]") -> "list[str]":
    """To whom how many answers went, as text; those of a pfrec that did not note it are left
    out.
    """
    counts = collections.Counter(entry["to"] for entry in entries if "to" in entry)
    return [f"{times} answers to {to}" for to, times in counts.items()]


def _line(entry: "Mapping[str, Any]") -> str:
    leaves = entry["leaves"]
    if entry["what"] in (ledger.TRAINING, ledger.STATE):
        named = entry.get(entry["what"], "")
        return (
            f"{entry['number']:>6} {entry['time']} {entry['what']:<16} {named}: stays, noted alone"
        )
    names = ", ".join(name for name, _, _ in leaves[:3]) + (
        f" and {len(leaves) - 3} more" if len(leaves) > 3 else ""
    )
    return (
        f"{entry['number']:>6} {entry['time']} {entry['what']:<16} {entry['message_bytes']:>10} "
        f"bytes {entry['sha256'][:12]} to {entry.get('to', 'unknown')}: {names}"
    )


if __name__ == "__main__":
    main()
