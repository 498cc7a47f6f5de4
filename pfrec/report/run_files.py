"""What a run directory says, read from its files alone: neither its models nor its data."""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from pfrec import errors, files
from pfrec.report import signals

TIMES, COUNTS = "times.csv", "counts.json"
TIMES_HEADER = ("round", "seconds", "traced")
_REMEDY = "train the run again"

# By scenario, split, task and metric: rounds with values.
Curve = Sequence[tuple[float, float]]
Metrics = Mapping[tuple[str, str, str, str], Curve]


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The content of a run's files.

    Attributes:
      path: of the run.
      config: of config.json.
      summary: of summary.json; empty where the run is not finished.
      counts: of counts.json: by scenario and split, rows and labels, as far as they are known.
      manifest: of privacy_manifest.json; empty for a pooled algorithm, whose rows are in one place.
      metrics: by scenario, split, task (`all` of a loss) and metric: rounds with values, ascending;
        what is not defined is left out.
      rounds: of diagnostics/round_*.json.
      computed: of other files of diagnostics, by their names without `.json`: `gate_use`,
        `calibration`, `importance`; what pfrec-diagnose computed.
      seconds: how long each round took, of times.csv.
      traced: the rounds among them in which computations were traced.
    """

    path: pathlib.Path
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    counts: Mapping[str, Any]
    manifest: Mapping[str, Any]
    metrics: Metrics
    rounds: signals.Rounds
    computed: Mapping[str, Any]
    seconds: Mapping[int, float]
    traced: "frozenset[int]"

    @classmethod
    def read(cls, path: pathlib.Path) -> "RunFiles":
        """Reads a run, finished or not.

        Raises:
          PfrecError: where there is none, or a file of it is damaged.
        """
        config = files.read_json(
            path / "config.json", remedy="name the directory that pfrec-train wrote as --run"
        )
        if not isinstance(config, dict) or not {"scenarios", "schema", "plan"} <= set(config):
            raise errors.PfrecError(f"{path / 'config.json'}: is not a run's; {_REMEDY}")
        seconds, traced = read_times(path / TIMES)
        return cls(
            path,
            config,
            _optional(path / "summary.json"),
            _optional(path / COUNTS),
            _optional(path / "privacy_manifest.json"),
            read_metrics(path / "metrics.csv"),
            signals.rounds(path),
            {
                name: _optional(path / "diagnostics" / f"{name}.json")
                for name in ("gate_use", "calibration", "importance")
            },
            seconds,
            traced,
        )

    @property
    def scenarios(self) -> "tuple[str, ...]":
        """In client order."""
        return tuple(self.config["scenarios"])

    @property
    def tasks(self) -> "tuple[str, ...]":
        """In the order of the schema."""
        return tuple(task["name"] for task in self.config["schema"]["tasks"])

    @property
    def best_round(self) -> Optional[int]:
        """The chosen one; None where the run is not finished."""
        return self.summary.get("best_round")

    @property
    def last_round(self) -> int:
        """The last one with a figure; 0 for none."""
        return int(max((points[-1][0] for points in self.metrics.values()), default=0))

    def curve(
        self, scenario: str, split: str, task: str, metric: str
    ) -> "list[tuple[float, float]]":
        """A metric by round."""
        return list(self.metrics.get((scenario, split, task, metric), []))


def _optional(path: pathlib.Path) -> Any:
    return files.read_json(path, remedy=_REMEDY) if path.exists() else {}


def read_metrics(path: pathlib.Path) -> Metrics:
    """The content of a metrics.csv; empty where there is none.

    Raises:
      PfrecError: where it cannot be read.
    """
    found: dict[tuple[str, str, str, str], list[tuple[float, float]]] = {}
    for row in read_rows(path):
        # A line that is being written is left out.
        if row.get("value"):
            key = row["scenario"], row["split"], row["task"], row["metric"]
            found.setdefault(key, []).append((float(row["round"]), float(row["value"])))
    return found


def read_times(path: pathlib.Path) -> "tuple[dict[int, float], frozenset[int]]":
    """The content of a times.csv: the seconds of each round, and those in which computations were
    traced; empty where there is none.

    Raises:
      PfrecError: where it cannot be read.
    """
    rows = [row for row in read_rows(path) if row.get("traced")]
    seconds = {int(row["round"]): float(row["seconds"]) for row in rows}
    return seconds, frozenset(int(row["round"]) for row in rows if row["traced"] == "1")


def read_rows(path: pathlib.Path) -> "list[dict[str, Any]]":
    """The lines of a CSV file by column; none where there is no such file.

    Raises:
      PfrecError: where it cannot be read.
    """
    if not path.exists():
        return []
    with files.readable_errors(path), path.open(encoding="utf-8", newline="") as stream:
        try:
            return list(csv.DictReader(stream))
        except (csv.Error, ValueError) as error:
            raise errors.PfrecError(f"{path}: cannot be read ({error}); {_REMEDY}") from error
