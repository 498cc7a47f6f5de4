"""What a run directory says, read from its files alone: neither its models nor its data."""

import contextlib
import csv
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

from pfrec import errors, files, json_fields, run_records
from pfrec.report import records, signals

TIMES, COUNTS = "times.csv", "counts.json"
TIMES_HEADER = ("round", "seconds", "traced")
_REMEDY = "train the run again"
_COMPUTED = {
    "gate_use": records.gate_use,
    "calibration": records.calibration,
    "importance": records.importance,
}

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
        config = run_records.read_config(path)
        plan = json_fields.Fields(config["plan"], f"{path / run_records.CONFIG}: plan", _REMEDY)
        plan.number("participation", 0.0, 1.0)
        seconds, traced = read_times(path / TIMES)
        tasks = [task["name"] for task in config["schema"]["tasks"]]
        manifest, computed = path / run_records.MANIFEST, path / "diagnostics"
        counts, finished = path / COUNTS, (path / run_records.SUMMARY).exists()
        return cls(
            path,
            config,
            run_records.read_summary(path) if finished else {},
            records.counts(counts, config["scenarios"], tasks, _REMEDY) if counts.exists() else {},
            run_records.read_manifest(manifest, _REMEDY) if manifest.exists() else {},
            read_metrics(path / "metrics.csv"),
            signals.rounds(path),
            {
                name: read(place, "run pfrec-diagnose again") if place.exists() else {}
                for name, read in _COMPUTED.items()
                for place in [computed / f"{name}.json"]
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
        """The last one with a figure, of metrics or of time; 0 for none."""
        told = (points[-1][0] for points in self.metrics.values())
        return int(max((*told, *self.seconds), default=0))

    def curve(
        self, scenario: str, split: str, task: str, metric: str
    ) -> "list[tuple[float, float]]":
        """A metric by round."""
        return list(self.metrics.get((scenario, split, task, metric), []))


def read_metrics(path: pathlib.Path) -> Metrics:
    """The content of a metrics.csv; empty where there is none.

    Raises:
      PfrecError: where it cannot be read.
    """
    found: dict[tuple[str, str, str, str], list[tuple[float, float]]] = {}
    with readable(path):
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
    with readable(path):
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
    with readable(path):
        return files.read_csv(path)


@contextlib.contextmanager
def readable(path: pathlib.Path, remedy: str = _REMEDY) -> Iterator[None]:
    """Names a CSV file in an error about what stands in it.

    Raises:
      PfrecError: where the body cannot read it, or finds no number where one belongs.
    """
    with files.readable_errors(path):
        try:
            yield
        except (csv.Error, ValueError, KeyError, TypeError) as error:
            raise errors.PfrecError(f"{path}: cannot be read ({error}); {remedy}") from error
