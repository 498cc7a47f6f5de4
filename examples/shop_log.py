"""The log of a shop with four sites, for docs/tutorial.md: two weeks of what was shown, clicked and
bought.

python examples/shop_log.py LOG
"""

import pathlib
import sys

import numpy as np
import pandas as pd

SITES = {"de": 0.4, "fr": 0.3, "nl": 0.2, "be": 0.1}
DEVICES = ["phone", "tablet", "desktop"]


def week(number: int, rows: int = 12_000) -> pd.DataFrame:
    """Rows of a week: tastes drift, and each week has users and items that are new."""
    random, world = np.random.default_rng(number), np.random.default_rng(0)
    site = random.choice(list(SITES), rows, p=list(SITES.values()))
    user = random.integers(0, 300, rows) + 40 * number
    item = random.integers(0, 60, rows) + 5 * number
    price = random.gamma(2.0, 10.0, rows).round(2)
    device = random.choice(len(DEVICES), rows, p=[0.6, 0.1, 0.3])
    taste = world.normal(size=(len(SITES), 100)) + world.normal(size=100)
    taste += 0.5 * number * np.random.default_rng(99).normal(size=100)
    mood = world.normal(size=1000)[user]
    place = np.array(list(SITES)).searchsorted(site, sorter=np.argsort(list(SITES)))
    logit = 0.8 * taste[place, item] + 0.5 * mood - price / 20 - 0.3 * (device == 0)
    click = random.random(rows) < 1 / (1 + np.exp(1.0 - logit))
    buy = click & (random.random(rows) < 1 / (1 + np.exp(0.5 + price / 30 - taste[place, item])))
    return pd.DataFrame(
        {
            "day": pd.Timestamp("2026-03-02") + pd.to_timedelta(7 * number - 7, unit="D"),
            "site": site,
            "user": [f"u{n}" for n in user],
            "item": [f"item {n}" for n in item],
            "device": np.array(DEVICES)[device],
            "price": price,
            "click": click.astype(int),
            "buy": buy.astype(int),
        }
    )


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "log")
    folder.mkdir(parents=True, exist_ok=True)
    for number in (1, 2):
        week(number).to_csv(folder / f"week_{number}.csv", index=False)
        print(f"wrote {folder / f'week_{number}.csv'}")
