"""Reading pages as a browser would, and run directories whose names are of no good will."""

import html.parser
import json
import pathlib
from typing import Any, Optional

from pfrec import run_records
from pfrec.data import schema as schema_lib
from pfrec.models.config import ModelConfig

EVIL = "<script>alert('1')</script>&\""
VOID = ("meta", "br")


class Page(html.parser.HTMLParser):
    """A page, of which every element must be closed in order.

    Attributes:
      text: all that is shown.
      tags: names of elements.
      attributes: of all elements, (element, name, value).
      rows: of tables, their cells.
    """

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, Optional[str]]] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self._texts: list[str] = []
        self.feed(content)
        self.close()
        assert self._open == []
        self.text = " ".join(self._texts)

    def handle_starttag(self, tag: str, attrs: "list[tuple[str, Optional[str]]]") -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            return
        self._texts.append(data)
        if "td" in self._open[-3:] or "th" in self._open[-3:]:
            self.rows[-1][-1] += data


def check_alone(content: str) -> Page:
    """The page, which must need nothing from elsewhere and run nothing."""
    page = Page(content)
    assert "http:" not in content
    assert "https:" not in content
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    loading = [(t, n, v) for t, n, v in page.attributes if n in ("src", "srcset", "xlink:href")]
    assert loading == []
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    assert "url(" not in content
    assert "@import" not in content
    return page


def cell(auc: Optional[float], **others: Any) -> "dict[str, Any]":
    """What summary.json says of a scenario and task."""
    known = {"gauc": None, "logloss": 0.25, "ece": 0.01, "rows": 1000, "positives": 50}
    return {"auc": auc, **known, **others}


def write_run(
    path: pathlib.Path,
    scenarios: "tuple[str, ...]" = ("nl", "fr"),
    tasks: "tuple[str, ...]" = ("ctr", "cvr"),
    rounds: int = 3,
    finished: bool = True,
) -> pathlib.Path:
    """A run directory of made-up figures: AUC on valid is 0.5 and as many hundredths as rounds, on
    test 0.6 and as many thousandths as there are pairs before.
    """
    (path / "diagnostics").mkdir(parents=True)
    schema = schema_lib.Schema(
        (), (schema_lib.Numerical("price"),), tuple(schema_lib.Task(t, t) for t in tasks)
    )
    config = {
        "algorithm": "pf_msmtrec",
        "data": "/somewhere/data",
        "format_version": run_records.FORMAT_VERSION,
        "id": "0123456789abcdef",
        "model": ModelConfig().to_json(),
        "plan": {
            "algorithm": "pf_msmtrec",
            "rounds": rounds,
            "participation": 1.0,
            "settings": {"mu": 0.25},
            "sharing": [],
        },
        "scenarios": scenarios,
        "schema": schema.to_json(),
        "seed": 0,
    }
    put(path / "config.json", config)
    lines = ["round,scenario,split,task,metric,value"]
    for number in range(1, rounds + 1):
        for scenario in scenarios:
            name = '"' + scenario.replace('"', '""') + '"'
            lines.append(f"{number},{name},train,all,loss,{1 / number}")
            for task in tasks:
                of = '"' + task.replace('"', '""') + '"'
                lines.append(f"{number},{name},valid,{of},auc,{0.5 + number / 100}")
    (path / "metrics.csv").write_text("\n".join(lines) + "\n")
    (path / "times.csv").write_text("round,seconds,traced\n1,9.0,1\n2,2.0,0\n3,3.0,0\n")
    count = len(scenarios)
    gram = [[1.0 if i == j else -0.25 for j in range(count)] for i in range(count)]
    for number in range(1, rounds + 1):
        value = {
            "gram/expert/0": gram,
            "attention/expert/0": [[1 / count] * count] * count,
            "own_weight/expert/0": [0.5] * count,
            "conflict_share/expert/0": 1.0,
            "consensus_distance/expert/0": [3.0] * count,
            "refused": {scenarios[0]: "too large"} if number == 2 else {},
        }
        put(path / "diagnostics" / f"round_{number:05d}.json", value)
    item = {"bytes": 1248, "group": "expert/0", "shape": [39, 8], "what": "expert/0/kernel"}
    manifest = {
        "groups": [{"group": "expert/0", "leaves": True}, {"group": "secret", "leaves": False}],
        "aggregations_per_round": 4,
        "upload_bytes": 2000,
        "download_bytes": 3000,
        "evaluation_download_bytes": 500,
        "upload_bytes_once": 0,
        "uploads": [item],
        "uploads_once": [],
        "downloads": [item],
        "never_leaves": ["batch_norm/expert_0", "secret"],
        "kept_copies": [],
    }
    put(path / "privacy_manifest.json", manifest)
    if not finished:
        return path
    split = {
        "rows": 12345,
        "observed": dict.fromkeys(tasks, 1000),
        "positives": dict.fromkeys(tasks, 125),
    }
    counts = dict.fromkeys(scenarios, dict.fromkeys(("train", "valid", "test"), split))
    put(path / "counts.json", counts)
    names = [(s, t) for s in scenarios for t in tasks]
    test: dict[str, Any] = {}
    for place, (scenario, task) in enumerate(names):
        test.setdefault(scenario, {})[task] = cell(0.6 + place / 1000)
    summary = {
        "algorithm": "pf_msmtrec",
        "rounds": rounds,
        "best_round": 2,
        "mean_auc": 0.6543,
        "wall_seconds": 17.0,
        "test": test,
    }
    put(path / "summary.json", summary)
    return path


def put(path: pathlib.Path, value: Any) -> None:
    """Writes JSON."""
    path.write_text(json.dumps(value))
