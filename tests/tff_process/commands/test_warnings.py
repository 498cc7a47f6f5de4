"""What a conversion warned of is said again where it matters: before training."""

import json
import pathlib
import shutil

import pytest

from pfrec.data.dataset import dataset as dataset_lib
from tff_process.commands import train


def test_the_dataset_s_warnings_are_printed(
    dataset: dataset_lib.Dataset, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    data = tmp_path / "data"
    shutil.copytree(dataset.path, data)
    listing = json.loads((data / "dataset.json").read_text())
    listing["warnings"] = ["'ts' enters the model as raw numbers"]
    (data / "dataset.json").write_text(json.dumps(listing))
    train.open_data(str(data), tmp_path / "none", {}, 0)
    assert capsys.readouterr().err == "WARNING: 'ts' enters the model as raw numbers\n"
