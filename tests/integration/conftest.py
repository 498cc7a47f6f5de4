"""What several files of whole commands share."""

import pathlib

import pytest

from pfrec.data.dataset import dataset as dataset_lib
from tests.integration import commands


@pytest.fixture(scope="session")
def run(dataset: dataset_lib.Dataset, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A finished run of the default algorithm."""
    output = tmp_path_factory.mktemp("runs") / "run"
    out = commands.succeed(
        "pfrec-train", f"--data={dataset.path}", f"--output={output}", "--rounds=3", *commands.SMALL
    )
    assert out.rstrip().endswith(f"run: {output}")
    assert "round 3/3: valid AUC" in out
    return output
