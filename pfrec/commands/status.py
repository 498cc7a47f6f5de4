"""pfrec-status: says how far a run is, from another terminal and without disturbing it.

pfrec-status --run=run
"""

import csv
import pathlib
import re
import time
from typing import Optional

from absl import flags

from pfrec import command, errors, files, run_records, text_table

# A round that takes so many times as long as one before it, and so many seconds more, which a run
# that is resumed traces computations for, may be none that is under way.
_OVERDUE, _GRACE = 3, 120


def main() -> None:
    """Entry point of `pfrec-status`."""
    flags.DEFINE_string(
        "run", None, "A run directory of pfrec-train, finished or not.", required=True
    )
    command.run(_main)


def _main(argv: "list[str]") -> None:
    del argv
    path = pathlib.Path(flags.FLAGS.run)
    command.require_run(path)
    print(status(path, time.time()))


def status(run: pathlib.Path, now: float) -> str:
    """How far a run is, as text.

    Args:
      run: its directory.
      now: the time, in seconds since 1970.

    Raises:
      PfrecError: where its config.json is missing or damaged.
    """
    config = run_records.read_config(run)
    data = config.get("data") or "its silos"
    lines = [f"{run}: {config['algorithm']} on {data} ({', '.join(config['scenarios'])})"]
    rounds = _rounds(run)
    place = run / run_records.MANIFEST
    manifest = run_records.read_manifest(place, "train anew") if place.exists() else {}
    wanted = run_records.most_rounds(manifest, config["plan"])
    if (run / "summary.json").exists():
        summary = run_records.read_summary(run)
        mean = summary["mean_auc"]
        auc = "undefined" if mean is None else f"{mean:.4f}"
        at_home = ", finished at home" * run_records.finished(summary)
        told = f"mean test AUC {auc} at round {summary['best_round']}{at_home}"
        if not run_records.measured(summary):
            told = f"metrics are withheld; the model is of round {summary['best_round']}, the last"
        early = run_records.ended_early(summary)
        lines.append(f"finished: {told}{f', {early}' if early else ''}")
    elif not rounds:
        lines.append(f"round 1 of {wanted} is under way; computations are traced in it")
    else:
        lines.append(_progress(rounds, wanted, now))
    found = _valid(run)
    if found is not None:
        number, cells = found
        table = [("scenario", "task", f"valid AUC, round {number}")]
        table += [(*cell, auc or "one class") for cell, auc in cells.items()]
        lines += ["", *text_table.aligned(table, "lll")]
    return "\n".join(lines)


def _rounds(run: pathlib.Path) -> "dict[int, float]":
    """When each round that is kept was complete, by its number."""
    found: dict[int, float] = {}
    for path in sorted((run / "server").glob("round_*")):
        match = re.fullmatch(r"round_(\d+)", path.name)
        if match:
            found[int(match.group(1))] = path.stat().st_mtime
    return found


def _progress(rounds: "dict[int, float]", wanted: int, now: float) -> str:
    last = max(rounds)
    line = f"round {last} of {wanted} is complete since {_duration(now - rounds[last])}"
    earlier = [number for number in rounds if number < last and rounds[number] <= rounds[last]]
    if earlier:
        first = min(earlier)
        seconds = (rounds[last] - rounds[first]) / (last - first)
        line += f"; {_duration(seconds)} a round"
        if last < wanted and now - rounds[last] > _OVERDUE * seconds + _GRACE:
            return f"{line}: if it was ended, the line that began it goes on with --resume"
        rest = wanted - last
        # However late the round under way is, those after it have not begun.
        left = max(rest * seconds - (now - rounds[last]), (rest - 1) * seconds, 0.0)
        line += f", at most {_duration(left)} left"
    return line


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _valid(run: pathlib.Path) -> "Optional[tuple[int, dict[tuple[str, str], str]]]":
    """The last round of metrics.csv with AUC on valid, by scenario and task; None without one."""
    path = run / "metrics.csv"
    if not path.exists():
        return None
    by_round: dict[int, dict[tuple[str, str], str]] = {}
    try:
        with files.readable_errors(path):
            for values in files.read_csv(path):
                # A line that is being written is left out.
                if values.get("value") is None or values["split"] != "valid":
                    continue
                if values["metric"] == "auc":
                    cells = by_round.setdefault(int(values["round"]), {})
                    text = values["value"]
                    cells[values["scenario"], values["task"]] = f"{float(text):.4f}" if text else ""
    except (ValueError, KeyError, csv.Error) as error:
        raise errors.PfrecError(f"{path}: cannot be read ({error}); train the run again") from error
    return (max(by_round), by_round[max(by_round)]) if by_round else None


if __name__ == "__main__":
    main()
