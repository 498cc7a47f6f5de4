"""pfrec-export and pfrec-verify, with the tiny model in place of a run's."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Any, Callable

import pytest
import tensorflow as tf
from google.protobuf import text_format  # type: ignore[import-untyped]

from export.checks import version as version_checks
from export.commands import export, verify
from export.exporting import build as build_lib
from export.exporting import trained
from export.graph import serving_module
from export.publishing import models_config
from export.version import manifest
from pfrec import errors, files
from tests.export import tiny
from tests.integration import commands


class _Run:
    """Stands for a finished run of two scenarios."""

    scenarios = ("NL", "ES")

    def trained(self, scenario: str, rows: int) -> trained.TrainedModel:
        del rows
        return tiny.model(seed=self.scenarios.index(scenario), scenario=scenario)

    def test_rows(self, scenario: str, most: int) -> None:
        del scenario, most


@pytest.fixture
def run() -> Any:
    return _Run()


def _names(directory: pathlib.Path) -> "list[str]":
    return sorted(path.name for path in directory.iterdir())


def test_export_then_verify(
    run: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's temporary directory, which may be full, is not what an export writes to."""
    serving = tmp_path / "serving"
    with monkeypatch.context() as patched:
        patched.setenv("TMPDIR", "/proc")
        patched.setattr(tempfile, "tempdir", "/proc")  # Where nobody can make a file.
        result = export.export(run, serving, model_prefix="shop_")
    written = [
        "batching_parameters.txt",
        "docker-compose.yaml",
        "export_report.json",
        "kubernetes.yaml",
        "models.config",
    ]
    assert _names(serving) == sorted([*written, "monitoring.config", "shop_ES", "shop_NL"])
    assert _names(serving / "shop_NL") == ["1"]
    assert files.read_json(serving / "export_report.json", remedy="") == result
    assert [e["path"] for e in result["models"]] == ["shop_NL/1", "shop_ES/1"]
    assert "largest difference to the trained model" in export.table(result)
    assert f'base_path: "{serving}/shop_NL"' in (serving / "models.config").read_text()
    directories = verify.version_directories(None, serving)
    assert directories == [serving / "shop_ES" / "1", serving / "shop_NL" / "1"]
    assert all(version_checks.verify(d).ok for d in directories)
    # The second scenario's weights are its own.
    assert files.sha256(directories[0] / "variables/variables.data-00000-of-00001") != files.sha256(
        directories[1] / "variables/variables.data-00000-of-00001"
    )
    before = (serving / "models.config").read_bytes()
    with pytest.raises(errors.PfrecError, match="never overwritten"):
        export.export(run, serving, model_prefix="shop_", version=1)
    assert (serving / "models.config").read_bytes() == before


def test_nothing_is_published_where_one_scenario_fails(
    run: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    save = serving_module.save

    def save_then_damage(module, served, directory):
        saved = save(module, served, directory)
        written.append(directory)
        if len(written) == 2:
            next(iter(module.weights.values())).assign_add(
                tf.ones_like(next(iter(module.weights.values())))
            )
        return saved

    monkeypatch.setattr(serving_module, "save", save_then_damage)
    with pytest.raises(
        errors.PfrecError, match=r"serving/ES/1: the export is refused; .*parity: .* above 1e-06"
    ):
        export.export(run, tmp_path / "serving")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def quick_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a file in place of a model: for what happens around it."""

    def build(model: Any, name: str, directory: pathlib.Path, options: Any) -> build_lib.Built:
        (directory / "saved_model.pb").write_text(f"{name} {options.embedding_dtype}")
        manifest.write(directory, {"scenario": getattr(model, "scenario", None)})
        report = version_checks.Report(directory, (version_checks.Check("parity", True, "none"),))
        return build_lib.Built(report, {"folded": options.fold}, {"1": 0.5}, {})

    monkeypatch.setattr(build_lib, "build", build)


def test_one_number_and_old_versions_go(
    run: Any, tmp_path: pathlib.Path, quick_build: None
) -> None:
    (tmp_path / "ES" / "6").mkdir(parents=True)
    assert export.export(run, tmp_path)["version"] == 7
    assert [(tmp_path / name / "7").is_dir() for name in run.scenarios] == [True, True]
    models_config.roll_back(tmp_path, 7)
    result = export.export(run, tmp_path, keep=1, router=True)
    # The pinned version is served, so it stays, and a user hears that the new one is not.
    assert (result["version"], result["held_back"]) == (8, {"NL": [7], "ES": [7]})
    assert [entry["removed_versions"] for entry in result["models"]] == [[], [6], []]
    assert _names(tmp_path / "NL") == ["7", "8"]
    assert _names(tmp_path / "router") == ["8"]
    models_config.roll_forward(tmp_path)
    result = export.export(run, tmp_path, keep=2)
    assert (result["held_back"], _names(tmp_path / "ES")) == ({}, ["8", "9"])


def test_a_canary_and_what_it_is_compared_with_are_kept(
    run: Any, tmp_path: pathlib.Path, quick_build: None
) -> None:
    for _ in range(2):
        export.export(run, tmp_path)
    result = export.export(run, tmp_path, canary=True, keep=1)
    assert result["canary"] == {"NL": 2, "ES": 2}
    assert models_config.served(tmp_path) == {"NL": 2, "ES": 2}
    assert _names(tmp_path / "NL") == ["2", "3"]
    assert result["champion"]["notes"][0].startswith("NL: no rows to compare with")
    models_config.roll_forward(tmp_path)
    assert export.export(run, tmp_path)["canary"] == {}


def test_a_scenario_that_is_gone_is_told_to_be_served_still(
    run: Any, tmp_path: pathlib.Path, quick_build: None
) -> None:
    """By prefix, of which an empty one is no other's beginning."""
    prefixes = ("shop_", "feed_", "")
    for prefix in prefixes:
        assert export.export(run, tmp_path, model_prefix=prefix, router=True)["beside"] == {}
    (tmp_path / "search" / "1").mkdir(parents=True)  # Of another tool.
    run.scenarios = ("NL",)
    for prefix in prefixes:
        result = export.export(run, tmp_path, model_prefix=prefix)
        assert result["beside"] == {f"{prefix}ES": 1, f"{prefix}router": 1}
    shutil.rmtree(tmp_path / "shop_ES")
    result = export.export(run, tmp_path, model_prefix="shop_")
    assert result["beside"] == {"shop_router": 1}
    assert result["taken_out"] == {"shop_ES": f"{tmp_path}/shop_ES"}
    assert files.read_json(tmp_path / "export_report.json", remedy="") == result
    assert "shop_ES" not in (tmp_path / "models.config").read_text()


def test_what_leaves_models_config_and_what_is_not_seen_there_is_said(
    run: Any, tmp_path: pathlib.Path, quick_build: None
) -> None:
    first = export.export(run, tmp_path)
    assert (first["taken_out"], first["not_here"], export.notes(first, tmp_path)) == ({}, {}, [])
    run.scenarios = ("NL",)
    shutil.rmtree(tmp_path / "ES")
    moved = export.export(run, tmp_path, base_path="gs://bucket")
    assert (moved["taken_out"], moved["not_here"]) == ({}, {"ES": f"{tmp_path}/ES"})
    (note,) = export.notes(moved, tmp_path)
    assert f"left in models.config although {tmp_path} holds no version of it: ES /" in note
    here = export.export(run, tmp_path)
    assert (here["taken_out"], here["not_here"]) == ({"ES": f"{tmp_path}/ES"}, {})
    (note,) = export.notes(here, tmp_path)
    assert note.endswith(f"holds no version of it: ES {tmp_path}/ES")
    assert files.read_json(tmp_path / "export_report.json", remedy="") == here


def test_rollback_command(run: Any, tmp_path: pathlib.Path, quick_build: None) -> None:
    for _ in range(2):
        export.export(run, tmp_path)
    done = commands.run("pfrec-export", f"--output={tmp_path}", "--rollback")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "ES: pinned to version 1")
    assert models_config.pinned(tmp_path) == {"ES": [1], "NL": [1]}
    models_config.roll_forward(tmp_path, ["ES"])
    assert models_config.pinned(tmp_path) == {"NL": [1]}
    done = commands.run("pfrec-export", f"--output={tmp_path}", "--rollback", "--scenario=Perú")
    assert "lists no model Perú; it lists ES, NL" in done.stderr
    done = commands.run("pfrec-export", f"--output={tmp_path}", "--roll_forward")
    assert done.stdout.splitlines()[0] == "ES: highest version is served, 2"
    assert models_config.pinned(tmp_path) == {}


def test_damaged_config_is_seen_before_the_work(run: Any, tmp_path: pathlib.Path) -> None:
    (tmp_path / "models.config").write_text("no config")
    with pytest.raises(errors.PfrecError, match="mend or remove it"):
        export.export(run, tmp_path)
    assert _names(tmp_path) == ["models.config"]


def test_model_directory_stands_for_its_versions(
    copy: Callable[..., pathlib.Path], tmp_path: pathlib.Path
) -> None:
    assert verify.version_directories(copy("NL/2").parent, None) == [tmp_path / "NL" / "2"]
    copy("NL/10")
    assert [d.name for d in verify.version_directories(tmp_path / "NL", None)] == ["2", "10"]
    assert verify.version_directories(tmp_path / "NL" / "10", None) == [tmp_path / "NL" / "10"]
    assert verify.version_directories(None, tmp_path) == [tmp_path / "NL" / n for n in ("2", "10")]
    with pytest.raises(errors.PfrecError, match="no such directory"):
        verify.version_directories(tmp_path / "none", None)


def test_verify_leaves_what_is_served_from_elsewhere_with_a_word(
    copy: Callable[..., pathlib.Path], tmp_path: pathlib.Path
) -> None:
    """A server may list models of others beside those of pfrec."""
    copy()
    models_config.write(tmp_path, "/models")
    config = models_config.read(tmp_path)
    config.model_config_list.config.add(name="search", base_path="gs://bucket/search")
    path = tmp_path / "models.config"
    path.write_text(text_format.MessageToString(config))
    done = commands.run("pfrec-verify", f"--serving={tmp_path}")
    assert (done.returncode, done.stderr) == (
        0,
        "note: served from elsewhere, so not looked at: search (gs://bucket/search)\n",
    )
    assert done.stdout.splitlines()[-1] == "1 version, 15 checks, 0 failed"
    config.model_config_list.config.add(name="FR", base_path="/models/FR")
    path.write_text(text_format.MessageToString(config))
    done = commands.run("pfrec-verify", f"--serving={tmp_path}")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{path}: lists FR, of which there is no version; export it" in done.stderr


def test_verify_command(copy: Callable[..., pathlib.Path], tmp_path: pathlib.Path) -> None:
    directory = copy()
    (directory / "saved_model.pb").unlink()
    done = commands.run("pfrec-verify", f"--model={directory}")
    assert done.returncode == 1
    assert re.search(r"FAIL +files +saved_model.pb is missing", done.stdout)
    assert "1 version, 2 checks, 1 failed" in done.stdout
    shutil.rmtree(directory)
    copy()
    done = commands.run("pfrec-verify", f"--serving={tmp_path}")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        0,
        "1 version, 15 checks, 0 failed",
    )


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (
            "pfrec-export",
            ["--output=x"],
            "give one of --run, --client_dir, --rollback and --roll_forward",
        ),
        (
            "pfrec-export",
            ["--run=/nonexistent", "--output=x"],
            "/nonexistent: no such directory; check --run",
        ),
        ("pfrec-export", ["--run=.", "--output=x", "--version=0"], "version"),
        ("pfrec-export", ["--run=.", "--output=x", f"--version={2**63}"], "--version=92233720"),
        ("pfrec-compare", ["--data=d", "--output=x", "--target_auc=7"], "--target_auc=7"),
        ("pfrec-certificates", ["--output=x", "--silos=a", "--days=9999999"], "--days=9999999"),
        ("pfrec-verify", [], "give one of --model and --serving"),
        ("pfrec-verify", ["--model=.", "--endpoint=nowhere"], "not HOST:PORT"),
        (
            "pfrec-verify",
            ["--model=.", "--rest_endpoint=nowhere"],
            "--rest_endpoint=nowhere: not HOST:PORT",
        ),
        (
            "pfrec-export",
            ["--run=.", "--output=x", "--scenario=NL"],
            "--scenario goes with --rollback and --roll_forward",
        ),
        ("pfrec-export", ["--run=.", "--rollback", "--output=x"], "give one of --run"),
        (
            "pfrec-export",
            ["--rollback", "--output=x", "--keep=2"],
            "--keep: is of an export, so here it does nothing; leave it out",
        ),
        ("pfrec-export", ["--roll_forward", "--output=x", "--version=2"], "--version: is of an"),
        ("pfrec-export", ["--client_dir=.", "--output=x", "--data=d"], "--data: is of --run, so"),
        ("pfrec-verify", ["--model=.", "--timeout=3"], "--timeout: is of --endpoint or --rest_"),
        (
            "pfrec-export",
            ["--rollback", "--output=/nonexistent"],
            "/nonexistent: no such directory; name what pfrec-export wrote",
        ),
    ],
)
def test_bad_flags_are_one_line(command: str, arguments: "list[str]", message: str) -> None:
    done = commands.run(command, *arguments)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


@pytest.mark.parametrize("module", ["export.commands.export", "export.commands.verify"])
def test_help_does_not_import_tensorflow(module: str) -> None:
    code = (
        f"import sys, {module} as m\n"
        "sys.argv = ['x', '--help']\n"
        "try:\n    m.main()\nexcept SystemExit:\n    pass\n"
        "assert 'tensorflow' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--" in done.stdout
