"""What an installation rests on: the lock, and console scripts that answer at once."""

import importlib
import os
import pathlib
import re
import subprocess
import sys
from typing import Any, NamedTuple

import packaging.markers
import packaging.requirements
import packaging.utils
import packaging.version
import pytest

from tff_process import versions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PYTHONS = ("3.9", "3.10", "3.11")
_PROJECT: dict[str, Any] = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
_SCRIPTS: dict[str, str] = _PROJECT["scripts"]
# `pfrec` itself has no flags; it lists the others.
_COMMANDS = sorted(set(_SCRIPTS) - {"pfrec"})
_HEAVY = ("tensorflow", "tensorflow_federated", "keras", "pandas", "pyarrow", "sklearn")


class Locked(NamedTuple):
    """One entry of the lock: what pip is told to install, and the lines of hashes below it."""

    requirement: packaging.requirements.Requirement
    hashes: list[str]


def _read_lock() -> list[Locked]:
    entries: list[Locked] = []
    for line in (_ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].rstrip().removesuffix("\\").strip()
        if not text:
            continue
        if line[0].isspace():
            entries[-1].hashes.append(text)
        else:
            entries.append(Locked(packaging.requirements.Requirement(text), []))
    return entries


def _locked_versions(python: str) -> dict[str, packaging.version.Version]:
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.4",
        "sys_platform": "linux",
        "platform_system": "Linux",
    }
    return {
        packaging.utils.canonicalize_name(entry.requirement.name): packaging.version.Version(
            str(entry.requirement.specifier)[2:]
        )
        for entry in _read_lock()
        if entry.requirement.marker is None or entry.requirement.marker.evaluate(environment)
    }


def test_every_locked_requirement_is_exact_and_hashed() -> None:
    entries = _read_lock()
    assert len(entries) > 50
    for entry in entries:
        assert re.fullmatch(r"==[^=,*]+", str(entry.requirement.specifier)), entry.requirement
        assert entry.hashes, f"{entry.requirement.name} has no hash"
        for digest in entry.hashes:
            assert re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", digest), (
                entry.requirement.name,
                digest,
            )


def test_lock_holds_no_address_and_no_path() -> None:
    for number, line in enumerate(
        (_ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines(), start=1
    ):
        assert "/" not in line, f"requirements.txt:{number}: {line}"
        assert "\\" not in line.removesuffix(" \\"), f"requirements.txt:{number}: {line}"
        assert not line.startswith("-"), f"requirements.txt:{number}: {line}"


def test_lock_says_how_it_is_remade() -> None:
    header = (
        (_ROOT / "requirements.txt").read_text(encoding="utf-8").split("\n\n")[0].splitlines()[:3]
    )
    assert any("make lock" in line for line in header if line.startswith("#"))


@pytest.mark.parametrize("python", _PYTHONS)
def test_lock_meets_what_the_project_and_the_version_check_ask(python: str) -> None:
    locked = _locked_versions(python)
    asked = [
        *_PROJECT["dependencies"],
        *map(str, versions.REQUIREMENTS),
        *_stated("requirements.in"),
        *_stated("overrides.txt"),
    ]
    for requirement in map(packaging.requirements.Requirement, asked):
        if requirement.marker is None or requirement.marker.evaluate(
            {"python_version": python, "python_full_version": f"{python}.4"}
        ):
            version = locked.get(packaging.utils.canonicalize_name(requirement.name))
            assert version is not None, f"{requirement} is not in the lock; run make lock"
            assert version in requirement.specifier, (
                f"the lock has {requirement.name} {version}, not {requirement}; run make lock"
            )


def _stated(name: str) -> list[str]:
    lines = (_ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


@pytest.mark.parametrize("script", sorted(_SCRIPTS))
def test_script_has_a_main(script: str) -> None:
    module, function = _SCRIPTS[script].split(":")
    assert callable(getattr(importlib.import_module(module), function))


def _run(arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=_ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _split_stderr(stderr: str) -> tuple[set[str], list[str]]:
    """Separates the modules that `-X importtime` reports from what the command itself says."""
    imported, said = set(), []
    for line in stderr.splitlines():
        if line.startswith("import time:"):
            imported.add(line.split("|")[-1].strip())
        elif line.strip():
            said.append(line)
    return imported, said


def _ways(script: str) -> list[list[str]]:
    installed = pathlib.Path(sys.executable).parent / script
    assert installed.exists(), f"{installed} is missing: run make setup"
    return [[str(installed)], ["-m", _SCRIPTS[script].split(":")[0]]]


@pytest.mark.parametrize("script", _COMMANDS)
def test_help_names_the_flags_without_heavy_imports(script: str) -> None:
    for way in _ways(script):
        result = _run([*way, "--help"])
        imported, said = _split_stderr(result.stderr)
        assert "absl.app" in imported
        assert imported.isdisjoint(_HEAVY)
        assert result.returncode == 0
        assert said == []
        assert script in result.stdout
        # Every command reads or writes something that a flag of its own names.
        own = r"^  --(data|input|output|run|model|port|client_dir)="
        assert re.search(own, result.stdout, re.MULTILINE)
        assert re.search(rf"^  {script} --", result.stdout, re.MULTILINE), "no example"


@pytest.mark.parametrize("script", _COMMANDS)
@pytest.mark.parametrize("argument", ["--no_such_flag=1", "stray"])
def test_bad_argument_is_one_line_without_heavy_imports(script: str, argument: str) -> None:
    for way in _ways(script):
        result = _run([*way, argument])
        imported, said = _split_stderr(result.stderr)
        assert imported.isdisjoint(_HEAVY)
        assert result.returncode == 1
        assert len(said) == 1
        assert said[0].startswith("error: ")
        assert result.stdout == ""


def test_pfrec_lists_the_commands_and_runs_them() -> None:
    from pfrec.commands import overview

    assert {
        f"pfrec-{name}": f"{module}:main" for name, (module, _) in overview.COMMANDS.items()
    } == {script: place for script, place in _SCRIPTS.items() if script != "pfrec"}
    (way, _) = _ways("pfrec")
    listed = _run(way)
    assert all(f"  pfrec-{name} " in listed.stdout for name in overview.COMMANDS)
    assert "usage" not in listed.stderr
    helped = _run([*way, "evaluate", "--help"])
    assert helped.stdout == _run([*_ways("pfrec-evaluate")[0], "--help"]).stdout
    wrong = _run([*way, "trian"])
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "error: trian: no such command; did you mean train?" in wrong.stderr


def test_help_is_short_and_helpfull_is_whole() -> None:
    way = _ways("pfrec-train")[0]
    short, whole = _run([*way, "-h"]).stdout, _run([*way, "--helpfull"]).stdout
    assert len(short.splitlines()) < 60
    assert "--patience" in whole
    assert "--patience" not in short
    assert re.search(r"^\d+ more flags: --helpfull\.$", short, re.MULTILINE)
    assert "repeat this option" not in whole
    assert _run([*way, "--version"]).stdout == f"pfrec {_PROJECT['version']}\n"


def test_an_unknown_flag_names_the_nearest() -> None:
    _, said = _split_stderr(_run([*_ways("pfrec-train")[0], "--lerning_rate=1"]).stderr)
    assert said == [
        "error: --lerning_rate: no such flag; did you mean --learning_rate? --help lists the flags"
    ]


@pytest.mark.parametrize(
    ("script", "arguments", "told"),
    [
        ("pfrec-train", ["--data=/nowhere", "--output=/nowhere/run"], "/nowhere/dataset.json: no"),
        (
            "pfrec-train",
            ["--data=synthetic", "--output=/nowhere/run", "--algorithm=pooled_pl"],
            "algorithm pooled_pl: unknown; known are apfl,",
        ),
        ("pfrec-compare", ["--data=/nowhere", "--output=/nowhere/c"], "/nowhere/dataset.json: no"),
        ("pfrec-evaluate", ["--run=/nowhere"], "/nowhere/config.json: no such file"),
        ("pfrec-diagnose", ["--run=/nowhere"], "/nowhere/config.json: no such file"),
        ("pfrec-export", ["--run=/nowhere", "--output=/nowhere/s"], "/nowhere: no such directory"),
        ("pfrec-verify", ["--serving=/nowhere"], "/nowhere: no such directory"),
        ("pfrec-audit", ["--run=/nowhere"], "/nowhere/config.json: no such file"),
        ("pfrec-convert", ["--format=csv", "--input=/nowhere", "--output=/nowhere/d"], "/nowhere:"),
    ],
)
def test_a_wrong_path_is_told_before_anything_heavy(
    script: str, arguments: "list[str]", told: str
) -> None:
    result = _run([*_ways(script)[0], *arguments])
    imported, said = _split_stderr(result.stderr)
    assert imported.isdisjoint(_HEAVY)
    assert result.returncode == 1
    (line,) = said
    assert line.startswith(f"error: {told}")
