"""The file that a user's own algorithm was read from: one that is edited makes another algorithm of
the same name, and runs of before are not those that it would make now.
"""

import functools
import hashlib
import logging
import pathlib
import sys
from typing import Any, Optional

from pfrec import run_directory
from tff_process import plan as plan_lib
from tff_process.algorithms import registry

# In config.json of a run by an algorithm of the user's own.
CODE = "algorithm_code"
_log = logging.getLogger(__name__)


def record(plan: plan_lib.Plan) -> "dict[str, Any]":
    """What config.json says of the file; empty for an algorithm of this package, and where there is
    no file of its own.
    """
    place = _file(plan)
    return {} if place is None else {CODE: hashlib.sha256(place.read_bytes()).hexdigest()}


def warn_of_edits(run: run_directory.RunDirectory, plan: plan_lib.Plan) -> None:
    """Warns of a run that was begun with another content of the file, once for each run."""
    before, now = run.config.get(CODE), record(plan).get(CODE)
    if before and now and before != now:
        _warn(run.path, str(_file(plan)))


@functools.cache
def _warn(run: pathlib.Path, code: str) -> None:
    _log.warning(
        "%s: %s was edited since this run was begun; where its algorithm is another now, remove "
        "the run to train it anew, or choose another --output",
        run,
        code,
    )


def _file(plan: plan_lib.Plan) -> Optional[pathlib.Path]:
    name = plan.algorithm
    if not isinstance(name, str) or registry.is_pooled(name) or registry.is_own(name):
        return None
    found = registry.find(name)  # which imports it
    module = name.partition(":")[0] if ":" in name else found.make.__module__
    # A script that is run holds more than its algorithm.
    place = None if module == "__main__" else getattr(sys.modules.get(module), "__file__", None)
    return pathlib.Path(place) if place and pathlib.Path(place).is_file() else None
