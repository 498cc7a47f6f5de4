"""Wrong and missing packages are named, with what is needed and the command that mends it."""

import importlib.metadata
import subprocess
import sys
from typing import Optional

import pytest

from tff_process import versions

_FITTING = {
    "tensorflow": "2.14.1",
    "tensorflow-federated": "0.87.0",
    "keras": "2.14.0",
    "tensorflow-recommenders": "0.7.3",
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Optional[str]]:
    """What importlib.metadata reports, for a test to change: no entry is not installed."""
    distributions: dict[str, Optional[str]] = dict(_FITTING)

    def version(distribution: str) -> Optional[str]:
        if distribution not in distributions:
            raise importlib.metadata.PackageNotFoundError(distribution)
        return distributions[distribution]

    monkeypatch.setattr(importlib.metadata, "version", version)
    return distributions


@pytest.mark.parametrize("python", [(3, 9), (3, 10), (3, 11)])
def test_fitting_versions_pass(
    installed: dict[str, Optional[str]], monkeypatch: pytest.MonkeyPatch, python: tuple[int, int]
) -> None:
    monkeypatch.setattr(sys, "version_info", (*python, 4, "final", 0))
    versions.check()


def test_every_requirement_is_covered_here() -> None:
    assert {requirement.distribution for requirement in versions.REQUIREMENTS} == set(_FITTING)


@pytest.mark.parametrize("python", [(2, 7), (3, 8), (3, 12), (4, 9)])
def test_unfit_python_is_named(
    installed: dict[str, Optional[str]], monkeypatch: pytest.MonkeyPatch, python: tuple[int, int]
) -> None:
    monkeypatch.setattr(sys, "version_info", (*python, 0, "final", 0))
    with pytest.raises(
        ImportError,
        match=(
            r"Python 3\.9, 3\.10 or 3\.11, and this is Python "
            rf"{python[0]}\.{python[1]};.*`make setup`"
        ),
    ):
        versions.check()


@pytest.mark.parametrize(
    ("distribution", "wrong", "needed"),
    [
        ("tensorflow", "2.15.0", "2.14.*"),
        ("tensorflow", "2.140.1", "2.14.*"),
        ("tensorflow-federated", "0.61.0", "0.87.0"),
        ("tensorflow-federated", "0.87.01", "0.87.0"),
        ("keras", "3.0.0", "2.14.*"),
        ("tensorflow-recommenders", "0.7.7", "0.7.3"),
    ],
)
def test_wrong_version_is_named(
    installed: dict[str, Optional[str]], distribution: str, wrong: str, needed: str
) -> None:
    installed[distribution] = wrong
    with pytest.raises(ImportError) as raised:
        versions.check()
    assert str(raised.value) == (
        f"pfrec needs {distribution}=={needed}, and {wrong} is installed. Mend it with `make "
        "setup`, or in an environment of your own "
        "with `pip install --no-deps --require-hashes -r requirements.txt`"
    )


@pytest.mark.parametrize("distribution", sorted(_FITTING))
def test_missing_package_is_named(installed: dict[str, Optional[str]], distribution: str) -> None:
    del installed[distribution]
    with pytest.raises(
        ImportError,
        match=rf"needs {distribution}==\S+, which is not installed\. Mend it with `make setup`",
    ):
        versions.check()


def test_broken_metadata_is_named(installed: dict[str, Optional[str]]) -> None:
    installed["keras"] = None
    with pytest.raises(
        ImportError, match=r"needs keras==2\.14\.\*, and a broken installation is installed"
    ):
        versions.check()


def test_all_problems_are_named_at_once(installed: dict[str, Optional[str]]) -> None:
    installed["keras"] = "3.0.0"
    del installed["tensorflow-recommenders"]
    with pytest.raises(ImportError, match=r"keras.*; tensorflow-recommenders"):
        versions.check()


def test_importing_the_package_checks_and_leaves_tensorflow_alone() -> None:
    program = (
        "import importlib.metadata, sys\n"
        "asked = []\n"
        "real = importlib.metadata.version\n"
        "importlib.metadata.version = lambda name: asked.append(name) or real(name)\n"
        "import tff_process\n"
        "print(sorted(asked), 'tensorflow' in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == f"{sorted(_FITTING)} False"
