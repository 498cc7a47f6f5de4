"""Every record of a run, a client or a silo that was tampered with is read as what belongs there,
or is one clear error; never a traceback further on.
"""

import contextlib
import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pfrec import client_directory, errors, run_directory, run_records
from pfrec.data import schema as schema_lib
from pfrec.models.config import ModelConfig
from pfrec.report import comparison_page, run_page
from tests.pfrec.report import pages
from tff_process import plan as plan_lib
from tff_process import plan_difference
from tff_process.runtime import options
from tff_process.silos import directory as silo_directory

SCHEMA = schema_lib.Schema(
    categorical=(
        schema_lib.Categorical("user", 12),
        schema_lib.Categorical("word", 3, "shared", "vocabulary", ("a", "b")),
    ),
    numerical=(schema_lib.Numerical("price", None, "standard"),),
    tasks=(schema_lib.Task("click", "click"), schema_lib.Task("buy", "b", given="click")),
    group="session",
)
CELL = {"auc": 0.7, "gauc": None, "logloss": 0.5, "ece": 0.1, "rows": 10, "positives": 3}
TEST = {"nl": {"click": CELL, "buy": {**CELL, "served": False}}}
PLAN = plan_lib.Plan("pf_msmtrec", rounds=2)
CONFIG = {
    "format_version": 2,
    "pfrec_version": "0.2.0",
    "plan": PLAN.to_json(),
    "algorithm": "pf_msmtrec",
    "model": ModelConfig().to_json(),
    "seed": 0,
    "schema": SCHEMA.to_json(),
    "scenarios": ["nl", "fr"],
    "data": "/data",
    "data_from_run": "../data",
    "data_digests": {"nl": "0f", "fr": None},
    "id": "0123456789abcdef",
    "options": options.Options(keep_rounds=3).to_json(),
}
SUMMARY = {
    "algorithm": "pf_msmtrec",
    "seed": 0,
    "rounds": 2,
    "planned_rounds": 3,
    "best_round": 1,
    "mean_auc": 0.7,
    "nan": [],
    "test": TEST,
    "wall_seconds": 1.5,
    "changed_rounds": 2,
    "unchanged_because": "",
    "withheld": ["loss"],
    "finished": {"nl": "0f"},
    "fault": "",
}
CLIENT = client_directory.ClientRecord(
    "nl", SCHEMA, ModelConfig(), 0, "0123456789abcdef", 2, 8, TEST["nl"], "0f"
).to_json()
SHARDS = {split: (f"data/nl/{split}-0.tfrecord",) for split in ("train", "valid", "test")}
SILO = silo_directory.Facts("nl", SCHEMA, 120, ("click",), SHARDS, None, "0f").to_json()


def read_config(folder):
    config = run_records.read_config(folder)
    schema_lib.Schema.from_json(config["schema"], place="config.json")
    ModelConfig.from_json(config["model"])
    plan_difference.first(config["plan"], PLAN)
    options.Options.of_run(config, folder)
    return [*config["scenarios"], config["seed"] + 1]


def read_summary(folder):
    summary = run_records.read_summary(folder)
    for tasks in summary["test"].values():
        for cell in tasks.values():
            assert all(value is None or value + 1 for value in cell.values())
    assert run_records.measured(summary) in (True, False)
    assert all(isinstance(known, str) for known in summary.get("finished", {}).values())
    return summary["best_round"] + (summary["mean_auc"] or 0) + summary["rounds"]


def read_silo(folder):
    value = json.loads((folder / "silo.json").read_text())
    return silo_directory.Facts.from_json(value, place="silo.json").to_json()


def read_keep(folder):
    """The last version is never removed."""
    training = folder / "runs" / "0123456789abcdef"
    for number in (1, 2, 3):
        (training / client_directory.version_name(number)).mkdir(parents=True, exist_ok=True)
    (training / "keep.json").write_text((folder / "keep.json").read_text())
    silo_directory.remove_old(folder)
    assert (training / client_directory.version_name(3)).is_dir()


def write_page(folder):
    """A page of a whole run, of whose files one may have been tampered with."""
    run = folder / "run"
    if not run.exists():
        pages.write_run(run)
        for name in COMPUTED:
            pages.put(run / "diagnostics" / name, RECORDS[name][0])
    for path in [*folder.glob("*.json")]:
        of = run if path.name in ("counts.json", "privacy_manifest.json") else run / "diagnostics"
        path.replace(of / path.name)
    run_page.write(run)


def write_comparison(folder):
    comparison_page.write(folder)


PARTS = [{"rows": 10, "positives": 1, "predicted": 0.2}]
WORTH = {"mean": 0.01, "deviation": 0.002}
COMPUTED = {
    "calibration.json": {"split": "test", "round": 2, "scenarios": {"nl": {"ctr": PARTS}}},
    "importance.json": {
        **{"split": "valid", "round": 2, "repeats": 3, "features": ["price"]},
        "scenarios": {"nl": {"ctr": {"price": WORTH}}},
    },
    "gate_use.json": {"2": {"nl": {"ctr": [0.25, 0.75]}}},
    "round_00002.json": {
        **{"gram/e": [[1.0, -0.5], [-0.5, 1.0]], "attention/e": [[0.5, 0.5], [0.5, 0.5]]},
        **{"own_weight/e": [0.5, 0.5], "conflict_share/e": 1.0, "template_distance/e": [3.0, 2.0]},
        **{"refused": {"nl": "too large"}, "clipped": {"fr": 0.5}, "applied": True},
    },
}
LABELS = {"ctr": 1000, "cvr": 90}
COUNTS = {
    name: {"train": {"rows": 1234, "observed": LABELS, "positives": LABELS}}
    for name in ("nl", "fr")
}
ITEM = {"bytes": 1248, "group": "expert/0", "shape": [39, 8], "what": "expert/0/kernel"}
MANIFEST = {
    "groups": [{"group": "expert/0", "leaves": True}],
    **{"aggregations_per_round": 4, "upload_bytes": 2000, "download_bytes": 3000},
    **{"evaluation_download_bytes": 500, "upload_bytes_once": 0, "evaluation_downloads": [ITEM]},
    **{"uploads": [{**ITEM, "exactness": "as it is"}], "uploads_once": [], "downloads": [ITEM]},
    **{"never_leaves": ["secret"], "kept_copies": [{"what": "a", "shape": [], "bytes": 4}]},
}
RESULTS = {
    **{"data": "/somewhere", "rows": {"nl": 1234}, "given_to_all": {"rounds": 2}},
    **{"subject": "pf_msmtrec", "target_valid_auc": 0.6789},
    "entries": {
        "pf_msmtrec": {
            "algorithm": "pf_msmtrec",
            "test_auc": {"mean": 0.7, "deviation": 0.0012, "by_seed": [0.7, 0.7]},
            "valid_auc": 0.71,
            "valid_by_round": {"mean": [0.5, 0.6], "deviation": [0.01, 0.02]},
            "subject_minus_it": {"mean": 0.01, "half_width": 0.02},
            "plan": {"algorithm": "pf_msmtrec", "rounds": 2, "mu": 0.5},
            "seeds": [0, 1],
            "runs": ["runs/pf/seed_0", "runs/pf/seed_1"],
            "leaves": ["expert/0"],
            **{"round_bytes": 2_000, "rounds_to_target": 2, "bytes_to_target": 4_000},
        }
    },
}

RECORDS = {
    "config.json": (CONFIG, read_config),
    "summary.json": (SUMMARY, read_summary),
    "client.json": (CLIENT, lambda folder: client_directory.ClientRecord.read(folder).to_json()),
    "silo.json": (SILO, read_silo),
    "keep.json": ({"keep": [3]}, read_keep),
    **{name: (value, write_page) for name, value in COMPUTED.items()},
    "counts.json": (COUNTS, write_page),
    "privacy_manifest.json": (MANIFEST, write_page),
    "results.json": (RESULTS, write_comparison),
}

# What JSON can hold in an entry's place.
STRANGE = st.sampled_from(
    [
        *(None, True, False, 0, 1, -1, 10**30, 1e308, 0.5, "", "x", "../..", "-x", "nl" * 100),
        *([], {}, [[]], [1], ["a", "a"], {"a": 1}, [None], "\u0000", 3_000_000_000),
    ]
)
REMOVED = object()


def paths(value, before=()):
    """The places of a JSON value."""
    yield before
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in inner:
        if isinstance(part, (dict, list)):
            yield from paths(part, (*before, key))
        else:
            yield (*before, key)


def tampered(value, path, change):
    """The value with another in a place, or without that place."""
    made = copy.deepcopy(value)
    if not path:
        return change
    parent = made
    for key in path[:-1]:
        parent = parent[key]
    if change is REMOVED:
        del parent[path[-1]]
    else:
        parent[path[-1]] = change
    return made


@pytest.mark.parametrize("name", list(RECORDS))
def test_a_whole_record_is_read(name, tmp_path):
    value, read = RECORDS[name]
    (tmp_path / name).write_text(json.dumps(value))
    read(tmp_path)


@pytest.mark.parametrize("name", list(RECORDS))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_tampered_record_is_read_or_refused(name, tmp_path, data):
    value, read = RECORDS[name]
    path = data.draw(st.sampled_from(list(paths(value))))
    change = data.draw(st.one_of(STRANGE, st.just(REMOVED)) if path else STRANGE)
    (tmp_path / name).write_text(json.dumps(tampered(value, path, change)))
    with contextlib.suppress(errors.PfrecError):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "path", "change", "told"),
    [
        ("config.json", ("model", "embedding_dim"), 10**9, "embedding_dim is 1000000000; it must"),
        ("config.json", ("scenarios", 0), "../nl", "cannot be a directory's name"),
        ("config.json", ("id",), "../../x", "id is no run's"),
        ("config.json", ("plan",), [], "plan"),
        ("config.json", ("options",), [], r"config\.json: options: \[\] where an object belongs"),
        ("config.json", ("options", "min_clients"), "2", "options: min_clients is '2'; it must be"),
        ("summary.json", ("best_round",), "1", "best_round is '1', not a whole number"),
        ("summary.json", ("planned_rounds",), "9", "planned_rounds is '9', not a whole number"),
        ("summary.json", ("test", "nl", "click", "auc"), "high", "auc is 'high', not a number"),
        ("client.json", ("run",), "../x", "run is no training's name"),
        ("client.json", ("private_version",), -1, "private_version is -1"),
        ("silo.json", ("tasks",), ["by"], "names tasks that its schema does not have"),
        ("counts.json", ("nl", "train", "rows"), "x", r"counts\.json: nl: train: rows is 'x'"),
        ("privacy_manifest.json", ("upload_bytes",), -1, "upload_bytes is -1"),
        ("results.json", ("entries", "pf_msmtrec", "runs", 0), "../..", "a run outside"),
        ("gate_use.json", ("2", "nl", "ctr", 0), None, "0 is None, not a number"),
        ("round_00002.json", ("gram/e", 0), [1.0], "rows of different lengths"),
    ],
)
def test_the_error_names_the_entry(name, path, change, told, tmp_path):
    value, read = RECORDS[name]
    (tmp_path / name).write_text(json.dumps(tampered(value, path, change)))
    with pytest.raises(errors.PfrecError, match=told):
        read(tmp_path)


def test_a_note_that_would_remove_everything_removes_nothing(tmp_path):
    (tmp_path / "keep.json").write_text('{"keep": [999]}')
    read_keep(tmp_path)
    training = tmp_path / "runs" / "0123456789abcdef"
    assert len(list(training.glob("version_*"))) == 3
    (tmp_path / "keep.json").write_text('{"keep": [3]}')
    read_keep(tmp_path)
    assert len(list(training.glob("version_*"))) == 1


@pytest.mark.parametrize("content", [b"\xff\n\xff\n", b"round\nx,nl,valid,click,auc,0.5\n"])
def test_a_run_is_not_resumed_over_metrics_that_cannot_be_read(tmp_path, content):
    run = run_directory.RunDirectory.create(tmp_path / "run", CONFIG)
    (run.path / "metrics.csv").write_bytes(content)
    with pytest.raises(errors.PfrecError, match=r"metrics\.csv: cannot be read \("):
        run.begin_metrics(1)
    assert (run.path / "metrics.csv").read_bytes() == content


@pytest.mark.parametrize("cut", range(1, len("2,大阪,valid,click,auc,0.75\n".encode())))
def test_a_run_is_resumed_wherever_a_kill_cut_the_last_line_of_its_metrics(cut, tmp_path):
    run = run_directory.RunDirectory.create(tmp_path / "run", CONFIG)
    whole = "round,scenario,split,task,metric,value\n1,大阪,valid,click,auc,0.5\n".encode()
    begun = "2,大阪,valid,click,auc,0.75\n".encode()[:cut]
    (run.path / "metrics.csv").write_bytes(whole + begun)
    run.begin_metrics(2)
    assert (run.path / "metrics.csv").read_bytes() == whole
