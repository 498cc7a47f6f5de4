"""From a DataFrame to served models: convert, train, export, verify, score.

python examples/train_and_export.py [DIRECTORY]
"""

import pathlib
import sys

import numpy as np
import pandas as pd

import pfrec

SCHEMA = """
scenario = { column = "site" }
categorical = [{ name = "item", encoding = "hash", cardinality = 50, policy = "shared" }]
numerical = [{ name = "price" }]
task = [{ name = "click" }, { name = "buy", given = "click" }]
"""


def shop_log(rows: int = 4000) -> pd.DataFrame:
    """Clicks and purchases on three sites; cheap items are clicked more often."""
    random = np.random.default_rng(0)
    price = random.gamma(2.0, 10.0, rows)
    click = random.random(rows) < 1 / (1 + np.exp(price / 10 - 1))
    return pd.DataFrame(
        {
            "site": random.choice(["nl", "fr", "de"], rows, p=[0.5, 0.3, 0.2]),
            "item": [f"item {n}" for n in random.integers(0, 50, rows)],
            "price": price.round(2),
            "click": click.astype(int),
            "buy": (click & (random.random(rows) < 0.3)).astype(int),
        }
    )


def main(folder: pathlib.Path) -> None:
    shop_log().to_csv(folder / "log.csv", index=False)
    (folder / "shop.toml").write_text(SCHEMA)
    pfrec.convert("csv", folder / "log.csv", folder / "data", schema_path=folder / "shop.toml")
    data = pfrec.Dataset.open(folder / "data")
    plan = pfrec.Plan("pf_msmtrec", rounds=2, aggregations=2, batch_size=64)
    outcome = pfrec.train(plan, data, folder / "run")
    print(f"mean test AUC {outcome.summary['mean_auc']:.4f}")
    pfrec.export(folder / "run", folder / "serving")
    for site in data.scenarios:
        print(site, "passed" if pfrec.verify(folder / "serving" / site / "1").ok else "FAILED")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "."))
