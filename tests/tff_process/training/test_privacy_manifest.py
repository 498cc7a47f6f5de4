"""What the privacy manifest says of a mechanism in words."""

import dataclasses

from tff_process import plan
from tff_process.algorithms import pf_msmtrec
from tff_process.privacy import mechanism as mechanism_lib
from tff_process.process import federation, spread
from tff_process.training import privacy_manifest


def test_a_noisy_selection_of_rows_is_named():
    mechanism = mechanism_lib.of(8.0, 1e-5, 1.0, 100, [1_000], [20])
    plain = privacy_manifest._told(mechanism)
    assert plain == "Gaussian noise on clipped sums over Poisson sampled rows"
    sparse = privacy_manifest._told(dataclasses.replace(mechanism, sparse_rows=50_000))
    assert sparse.startswith(plain)
    assert "tables of 50000 rows or more" in sparse
    assert "threshold" in sparse


def test_what_crosses_for_each_spread_that_is_tried_is_counted(dataset):
    base = plan.Plan("pf_msmtrec", batch_size=50)
    stays = dataclasses.replace(base, settings=pf_msmtrec.Settings(find_spread=False))
    told = privacy_manifest.of(federation.Federation(base, dataset))
    once = privacy_manifest.of(federation.Federation(stays, dataset))
    models = 1 + len(spread.FACTORS)
    assert (told["evaluations_per_round"], once["evaluations_per_round"]) == (models, 1)
    assert once["evaluation_download_bytes"] == once["download_bytes"]
    # With its own values each client gets the consensus of what is personal, and moves them itself.
    consensus = sum(item["bytes"] for item in told["evaluation_downloads"])
    assert 0 < consensus <= once["download_bytes"]
    assert told["evaluation_download_bytes"] == once["download_bytes"] + consensus
    assert once["evaluation_downloads"] == []
    shapes = {item["what"]: item["shape"] for item in told["uploads"]}
    one = next(item["shape"] for item in once["uploads"] if item["what"] == "metrics")
    assert shapes["metrics"] == [1, *one]
    assert shapes["spreads_metrics"] == [models, *one]
    last = dataclasses.replace(stays, average_over=0.0)
    assert (
        privacy_manifest.of(federation.Federation(last, dataset))["evaluation_download_bytes"] == 0
    )
    hidden = dataclasses.replace(base, withhold=(plan.METRICS,))
    told = privacy_manifest.of(federation.Federation(hidden, dataset))
    assert not {"metrics", "spreads_metrics"} & {item["what"] for item in told["uploads"]}
    assert told["evaluations_per_round"] == 1
