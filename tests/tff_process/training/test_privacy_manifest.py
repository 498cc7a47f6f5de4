"""What the privacy manifest says of a mechanism in words."""

import dataclasses

import numpy as np
import pytest

from pfrec import errors
from tff_process import plan
from tff_process.algorithms import pf_msmtrec
from tff_process.privacy import mechanism as mechanism_lib
from tff_process.process import computations, federation, spread
from tff_process.runtime import compiled as compiled_lib
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
    training = federation.Federation(hidden, dataset)
    told = privacy_manifest.of(training)
    # What is not asked for is not traced either.
    assert "evaluate" not in compiled_lib.client_functions(
        computations.trace(training.process_spec())
    )
    assert not training.algorithm.finds_spread
    assert not {"metrics", "spreads_metrics"} & {item["what"] for item in told["uploads"]}
    assert told["evaluations_per_round"] == 1
    assert training.algorithm.keeps_trained
    assert told["evaluation_download_bytes"] == 0


def test_a_private_run_goes_on_with_the_noise_that_it_spent_its_budgets_with_alone(
    dataset, tmp_path, monkeypatch
):
    """Where the batch that a plan leaves open has come to be another, noise is another too."""
    begun = plan.Plan("fedavg", rounds=2, batch_size=50, dp_epsilon=4.0)
    path = tmp_path / "privacy_manifest.json"

    def opened(batch_size):
        made = federation.Federation(dataclasses.replace(begun, batch_size=batch_size), dataset)
        made.open_charges(tmp_path / "charges.jsonl")
        return made

    first = opened(50)
    privacy_manifest.require_same_noise(path, first)
    privacy_manifest.write(path, first)
    privacy_manifest.require_same_noise(path, opened(80))  # Nothing is spent.
    first.charges.charge("es", {"a": np.zeros([1], np.float32)}, 2)
    privacy_manifest.require_same_noise(path, opened(50))
    with pytest.raises(errors.PfrecError, match=r"es has spent 2 steps with noise_mult.* or train"):
        privacy_manifest.require_same_noise(path, opened(80))
    # A key may not give two noises to one question, whose difference has none.
    monkeypatch.setattr(mechanism_lib, "DRAWS", mechanism_lib.DRAWS + 1)
    with pytest.raises(errors.PfrecError, match="es has spent 2 steps with draws"):
        privacy_manifest.require_same_noise(path, first)
