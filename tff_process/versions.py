"""Refuses to start on a Python or on packages that federated training does not run on.

TensorFlow Federated 0.87 is built for TensorFlow 2.14 and Python 3.9 to 3.11, and installers that
are left to choose take other versions of it in silence. Reading the metadata of what is installed
costs milliseconds, where importing TensorFlow costs seconds.
"""

import dataclasses
import fnmatch
import importlib.metadata
import sys
from typing import Optional

_OLDEST_PYTHON = (3, 9)
_NEWEST_PYTHON = (3, 11)


@dataclasses.dataclass(frozen=True)
class Requirement:
    """A distribution and the versions of it that are known to work.

    Attributes:
      distribution: its name in the package index.
      version: a version, or a series as in `2.14.*`.
    """

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution}=={self.version}"


REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("tensorflow", "2.14.*"),
    Requirement("tensorflow-federated", "0.87.0"),
    # The last one known to use TensorFlow's own Keras: 0.7.7 brings tf-keras 2.15, a second Keras
    # beside it.
    Requirement("keras", "2.14.*"),
    Requirement("tensorflow-recommenders", "0.7.3"),
)


def check() -> None:
    """Checks the running Python and the installed packages, without importing TensorFlow.

    Raises:
      ImportError: where one is missing or unfit. The message names each, what is needed, and the
        command that mends it.
    """
    python = sys.version_info[:2]
    if not _OLDEST_PYTHON <= python <= _NEWEST_PYTHON:
        raise ImportError(
            f"pfrec needs Python 3.9, 3.10 or 3.11, and this is Python {python[0]}.{python[1]}; "
            "mend it with `make setup`, which finds one that fits or says how to install it"
        )
    problems = [problem for problem in map(_problem, REQUIREMENTS) if problem is not None]
    if problems:
        raise ImportError(
            f"pfrec needs {'; '.join(problems)}. Mend it with `make setup`, or in an environment "
            "of your own "
            "with `pip install --no-deps --require-hashes -r requirements.txt`"
        )


def _problem(requirement: Requirement) -> Optional[str]:
    try:
        installed = importlib.metadata.version(requirement.distribution)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement}, which is not installed"
    # Metadata without a version, left by an interrupted uninstall, reads as None.
    if installed is None or not fnmatch.fnmatchcase(installed, requirement.version):
        return f"{requirement}, and {installed or 'a broken installation'} is installed"
    return None
