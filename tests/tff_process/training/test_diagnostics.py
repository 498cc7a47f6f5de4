"""What is written of a round."""

import numpy as np
import pytest

from pfrec import files, run_directory
from tff_process.process import round_report
from tff_process.training import callbacks


@pytest.mark.parametrize("clients", [callbacks.MOST_PAIRED, callbacks.MOST_PAIRED + 1])
def test_matrices_of_many_clients_are_left_out_and_what_each_has_is_kept(tmp_path, clients):
    said = {
        "gram/gate": np.eye(clients),
        "own_weight/gate": np.ones(clients),
        "spread": np.array(1),
    }
    hook = callbacks.Diagnostics(run_directory.RunDirectory(tmp_path, {"scenarios": []}))
    hook.after_round(number=3, report=round_report.RoundReport({}, said))
    told = files.read_json(tmp_path / "diagnostics" / "round_00003.json", remedy="")
    assert told["own_weight/gate"] == [1.0] * clients
    assert told["spread"] == 1
    assert ("gram/gate" in told) == (clients <= callbacks.MOST_PAIRED)
