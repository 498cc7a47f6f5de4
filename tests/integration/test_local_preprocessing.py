"""From CSV with client-local preprocessing to verified exports, by the commands that a user types."""

import json
import pathlib

import numpy as np

from tests.integration import commands

TOML = """
[[categorical]]
name = "street"
encoding = "local_vocabulary"
cardinality = 30
[[numerical]]
name = "price"
normalise = "standard"
[[task]]
name = "click"
[split]
valid = 0.2
test = 0.2
"""


def write_rows(path: pathlib.Path, scale: float) -> None:
    draw = np.random.default_rng(int(scale))
    lines = [f"{path.stem}{draw.geometric(0.3)},{draw.normal(50 * scale, 9):.3f},{draw.integers(0, 2)}" for _ in range(400)]
    path.write_text("\n".join(["street,price,click", *lines]) + "\n")


def test_convert_train_export_verify(tmp_path: pathlib.Path) -> None:
    (tmp_path / "raw").mkdir()
    write_rows(tmp_path / "raw" / "NL.csv", 1.0)
    write_rows(tmp_path / "raw" / "ES.csv", 40.0)
    (tmp_path / "s.toml").write_text(TOML)
    data, run, serving = tmp_path / "data", tmp_path / "run", tmp_path / "serving"
    commands.succeed(
        "pfrec-convert", "--format=csv", f"--input={tmp_path / 'raw'}", f"--output={data}", f"--schema={tmp_path / 's.toml'}"
    )
    commands.succeed("pfrec-train", f"--data={data}", "--algorithm=pooled_mmoe", "--rounds=1", f"--output={run}")
    commands.succeed("pfrec-export", f"--run={run}", f"--output={serving}")
    shifts = []
    for scenario in ("NL", "ES"):
        manifest = json.loads((serving / scenario / "1" / "assets.extra" / "pfrec_manifest.json").read_text())
        shifts.append(manifest["schema"]["numerical"][0]["shift"])
        assert all(word.startswith(scenario) for word in manifest["schema"]["categorical"][0]["vocabulary"])
    np.testing.assert_allclose(shifts, [50, 2000], rtol=0.05)
