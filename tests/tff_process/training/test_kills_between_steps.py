"""A run that was killed between any two steps of writing and removing states goes on to the same
bits: it is copied as it is before each of them, and the copies are resumed.
"""

import os
import pathlib
import shutil

import numpy as np
import pytest

from pfrec import checkpoint, files, run_directory
from tests.small_model import SHAPE
from tff_process import plan
from tff_process.runtime import cache, options
from tff_process.runtime import clients as clients_lib
from tff_process.training import loop

PLAN = plan.Plan("pf_msmtrec", rounds=4, aggregations=1, batch_size=50, model=SHAPE)
ROUND = 4
# Each step of one client after the other.
OPTIONS = options.Options(keep_rounds=2, max_concurrent_clients=1)


class Copies:
    """Copies of a run's directory before the steps of a part of its training.

    Args:
      run: its directory.

    Attributes:
      found: by step, a copy, in order.
      taking: whether a step is to be copied.
    """

    def __init__(self, run):
        self.found, self.taking, self._run = {}, False, run

    def before(self, step, path):
        """Copies where it is the run's directory that a step changes."""
        path = pathlib.Path(path)
        if self.taking and self._run in path.parents:
            name = f"{len(self.found) + 1}: before {step} of {path.relative_to(self._run)}"
            copy = self._run.with_name(f"copy_{len(self.found) + 1}")
            self.taking = False
            shutil.copytree(self._run, copy, symlinks=True)
            self.found[name] = copy
            self.taking = True


def copied(dataset, run, computations):
    """Trains; the copies from one complete round to the next one, the last."""
    copies, calls = Copies(run), clients_lib.ClientCalls
    rmtree, replace, write = shutil.rmtree, os.replace, calls._begin_to_write
    commit = run_directory.RunDirectory.commit

    def removing(path, *arguments, **more):
        copies.before("the removal", path)
        rmtree(path, *arguments, **more)

    def renaming(source, target, **more):
        copies.before("the renaming", target)
        replace(source, target, **more)

    def writing(self, client, private, version):
        copies.before("the writing", client.version_path(version))
        return write(self, client, private, version)

    def committing(self, number, state):
        commit(self, number, state)
        copies.taking = number == ROUND - 1

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shutil, "rmtree", removing)
        patched.setattr(os, "replace", renaming)
        patched.setattr(pathlib.Path, "replace", renaming)
        patched.setattr(calls, "_begin_to_write", writing)
        patched.setattr(run_directory.RunDirectory, "commit", committing)
        loop.train(PLAN, dataset, run, options=OPTIONS, cache=computations)
    return copies.found


def cut_off(copy):
    """What a kill leaves that meets the worker while it writes the first client's state."""
    client = copy / "clients" / "es"
    (client / checkpoint.SPARE).write_bytes(b"")
    begun = client / f"version_{ROUND:05d}"
    begun.mkdir()
    (begun / checkpoint.META).write_bytes(b"")
    (begun / "state.data-00000-of-00001.tempstate123").write_bytes(b"a part")


def tensors(run, number):
    saved = run_directory.RunDirectory.read(run).load(number)
    return {"server": saved.server, **{name: saved.clients[name] for name in saved.clients}}


def spares(run):
    return [path.stat().st_size for path in sorted(run.glob(f"clients/*/{checkpoint.SPARE}"))]


def test_whenever_a_run_is_killed_it_goes_on_to_the_same_bits(dataset, tmp_path):
    computations, run = cache.ComputationCache(), tmp_path / "run"
    found = copied(dataset, run, computations)
    steps = list(found)
    assert sum("removal of clients" in step for step in steps) == 3
    writes = [number for number, step in enumerate(steps) if "the writing" in step]
    assert len(writes) == 3
    # Each client's own write empties what its removed state left.
    assert len(spares(found[steps[writes[0]]])) == 3
    assert all(spares(found[steps[writes[0]]]))
    assert spares(found[steps[writes[2] + 1]]) == [0, 0, 0]
    shutil.copytree(found[steps[writes[0]]], tmp_path / "cut_off")
    cut_off(tmp_path / "cut_off")
    expected = tensors(run, ROUND)
    for step, copy in {**found, "cut off": tmp_path / "cut_off"}.items():
        for number in run_directory.RunDirectory.read(copy).rounds()[-2:]:
            assert tensors(copy, number), step  # Two rounds are whole to go back to.
        loop.train(PLAN, dataset, copy, resume=True, options=OPTIONS, cache=computations)
        assert (copy / "metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes(), step
        for owner, values in tensors(copy, ROUND).items():
            assert values.keys() == expected[owner].keys(), step
            for name, value in values.items():
                np.testing.assert_array_equal(value, expected[owner][name], f"{step}: {name}")
        assert not list(copy.rglob(f"{files.TEMPORARY_PREFIX}*")), step
