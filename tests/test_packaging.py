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


@pytest.mark.parametrize("script", sorted(_SCRIPTS))
def test_help_names_the_flags_without_heavy_imports(script: str) -> None:
    for way in _ways(script):
        result = _run([*way, "--help"])
        imported, said = _split_stderr(result.stderr)
        assert "absl.app" in imported
        assert imported.isdisjoint(_HEAVY)
        # absl ends with status 1 after --help.
        assert result.returncode in (0, 1)
        assert said == []
        assert script in result.stdout
        # Every command reads or writes something that a flag of its own names.
        assert re.search(
            r"^ +--(data|input|output|run|model|port)[:\n]", result.stdout, re.MULTILINE
        ), result.stdout


@pytest.mark.parametrize("script", sorted(_SCRIPTS))
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
