"""From CSV with client-local preprocessing and lists of values to verified exports,
by the commands that a user types.
"""

import json
import pathlib

import numpy as np

from tests.integration import commands

TOML = """
[[categorical]]
name = "street"
encoding = "local_vocabulary"
cardinality = 30
[[categorical]]
name = "tags"
vocabulary = ["new", "sale", "gift"]
values = 2
[[categorical]]
name = "seen"
encoding = "local_vocabulary"
cardinality = 20
values = 3
separator = ";"
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
    lines = []
    for _ in range(400):
        tags = "|".join(draw.permutation(["new", "sale", "gift"])[: draw.integers(0, 4)])
        seen = ";".join(f"{path.stem}_{n}" for n in draw.integers(0, 9, draw.integers(0, 5)))
        street = f"{path.stem}{draw.geometric(0.3)}"
        lines.append(
            f"{street},{tags},{seen},{draw.normal(50 * scale, 9):.3f},{draw.integers(0, 2)}"
        )
    path.write_text("\n".join(["street,tags,seen,price,click", *lines]) + "\n")


def test_convert_train_export_verify(tmp_path: pathlib.Path) -> None:
    (tmp_path / "raw").mkdir()
    write_rows(tmp_path / "raw" / "NL.csv", 1.0)
    write_rows(tmp_path / "raw" / "ES.csv", 40.0)
    (tmp_path / "s.toml").write_text(TOML)
    data, run, serving = tmp_path / "data", tmp_path / "run", tmp_path / "serving"
    commands.succeed(
        "pfrec-convert",
        "--format=csv",
        f"--input={tmp_path / 'raw'}",
        f"--output={data}",
        f"--schema={tmp_path / 's.toml'}",
    )
    commands.succeed(
        "pfrec-train", f"--data={data}", "--algorithm=pooled_mmoe", "--rounds=1", f"--output={run}"
    )
    commands.succeed("pfrec-export", f"--run={run}", f"--output={serving}")
    shifts = []
    for scenario in ("NL", "ES"):
        manifest = json.loads(
            (serving / scenario / "1" / "assets.extra" / "pfrec_manifest.json").read_text()
        )
        shifts.append(manifest["schema"]["numerical"][0]["shift"])
        street, tags, seen = manifest["schema"]["categorical"]
        assert all(word.startswith(scenario) for word in street["vocabulary"])
        assert tags["values"] == 2
        assert set(seen["vocabulary"]) == {f"{scenario}_{n}" for n in range(9)}
        assert manifest["signatures"]["serving_default"]["inputs"]["seen"] == "string [None, None]"
    np.testing.assert_allclose(shifts, [50, 2000], rtol=0.05)
