"""Uploads of few bits: what is sent, what is kept of it, and a run with them."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pfrec import errors, groups, run_model
from tests.small_model import SHAPE
from tff_process import plan as plan_lib
from tff_process.client import small_uploads, strategy, variables, work
from tff_process.process import computations, federation
from tff_process.runtime import options, wire
from tff_process.training import loop

PLAN = plan_lib.Plan("fedavg", rounds=2, aggregations=2, batch_size=50, model=SHAPE)


def encoded(change, bits):
    made = small_uploads.encoded(tf.constant(change, tf.float32), bits)
    return [value.numpy() for value in made]


def test_by_hand():
    codes, scale, left = encoded([-2.0, 0.0, 1.0, 254.0], 8)
    assert codes.dtype == np.int8
    assert scale == 2.0
    np.testing.assert_array_equal(codes, [-1, 0, 0, 127])  # half goes to the even one
    np.testing.assert_array_equal(left, [0.0, 0.0, 1.0, 0.0])
    codes, scale, left = encoded([32767.0, -0.75], 16)
    assert codes.dtype == np.int16
    assert scale == 1.0
    np.testing.assert_array_equal(codes, [32767, -1])
    np.testing.assert_array_equal(left, [0.0, 0.25])


@pytest.mark.parametrize("bits", [8, 16])
def test_no_change_is_told_as_none(bits):
    codes, scale, left = encoded(np.zeros([2, 3]), bits)
    assert not codes.any()
    assert scale == 0.0
    assert not left.any()
    before = {"w": np.full([2, 3], 0.1, np.float32)}
    told = {"w": {"codes": codes, "scale": scale}}
    np.testing.assert_array_equal(small_uploads.decoded(told, before)["w"], before["w"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_change_that_is_not_finite_shows(bad):
    codes, scale, _ = encoded([1.0, bad], 8)
    before = {"w": np.zeros(2, np.float32)}
    made = small_uploads.decoded({"w": {"codes": codes, "scale": scale}}, before)
    assert not np.isfinite(made["w"]).all()


@given(
    st.lists(
        st.lists(st.floats(-100.0, 100.0, width=32), min_size=3, max_size=3),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from([8, 16]),
)
@settings(deadline=None, max_examples=50)
def test_what_was_sent_is_the_sum_of_changes_but_for_one_rounding(changes, bits):
    left, sent, largest = np.zeros(3, np.float32), np.zeros(3), 0.0
    for change in changes:
        codes, scale, left = encoded(np.float32(change) + left, bits)
        sent += np.float64(scale) * codes
        largest = max(largest, float(scale))
        # A half of the last quantum, and what float32 leaves out of 12 sums of some hundreds.
        assert np.all(np.abs(left) <= 0.5 * scale + 1e-5)
    total = np.sum(np.float64(changes), axis=0)
    np.testing.assert_allclose(sent, total, rtol=0, atol=0.5 * largest + 1e-3)


def test_a_client_adds_what_was_left_out_to_its_next_change():
    """Of 0.25 left out and a change of 127.75 are 128 in quanta of 128 / 127; its training is told
    of neither.
    """

    class Inner(strategy.Strategy):
        asked, reads_valid = ("number",), True

        def train(self, model, inputs):
            assert set(inputs.private) == {"own"}
            upload = {"w": inputs.incoming["w"] + tf.constant([127.75, 0.0])}
            return work.ClientRound(dict(inputs.private), upload, tf.ones([]), tf.zeros([]))

    spec = variables.VariableSpec("w", "expert", "e", "0", (2,), True, variables.COMMON)
    layout = variables.ModelVariables((spec,))
    client = small_uploads.SmallUploads(Inner(), 8)
    (kept,) = client.kept(layout)
    assert (client.asked, client.reads_valid, kept.shape) == (("number",), True, (2,))
    private = {"own": tf.ones([]), kept.name: tf.constant([0.25, 0.5])}
    incoming = {"w": tf.constant([10.0, 20.0])}
    inputs = work.ClientInputs(layout, work.TrainingSettings(), incoming, {}, private, {})
    done = client.train(None, inputs)
    np.testing.assert_array_equal(done.upload["w"][small_uploads.CODES], [127, 0])
    assert float(done.upload["w"][small_uploads.SCALE]) == pytest.approx(128 / 127)
    np.testing.assert_allclose(done.private[kept.name], [0.0, 0.5], atol=1e-5)
    assert float(done.private["own"]) == 1.0


def test_numbers_of_another_shape_or_type_stay_for_who_refuses_them():
    before = {"w": np.zeros([2, 3], np.float32)}
    for codes, scale in (
        (np.zeros([3], np.int8), np.float32(1.0)),
        (np.zeros([2, 3], np.int64), np.float32(1.0)),
        (np.zeros([2, 3], np.int8), np.zeros([2], np.float32)),
    ):
        made = small_uploads.decoded({"w": {"codes": codes, "scale": scale}}, before)
        assert made["w"] is codes


@pytest.fixture(scope="module")
def two(dataset):
    return dataclasses.replace(dataset, scenarios=("nl", "es"))


def test_statistics_leave_as_they_are(two):
    made = federation.Federation(dataclasses.replace(PLAN, upload_bits=8), two)
    types = computations.trace(made.process_spec()).types.sent["values"]
    for spec in made.layout.uploaded:
        assert str(types[spec.name]).startswith("<codes=int8") == spec.trainable, spec.name
    assert not all(spec.trainable for spec in made.layout.uploaded)


def test_a_run_of_few_bits_comes_to_nearly_the_same(two, tmp_path, monkeypatch):
    """And on the way to the driver its trained numbers are bytes."""
    whole = loop.train(PLAN, two, tmp_path / "whole").run
    passed = []

    def noted(self, message, kind):
        answer = value(self, message, kind)
        passed.extend(tf.nest.flatten(answer))
        return answer

    value = wire.Answers.value
    monkeypatch.setattr(wire.Answers, "value", noted)
    small = loop.train(dataclasses.replace(PLAN, upload_bits=8), two, tmp_path / "small").run
    manifests = [
        json.loads((run.path / "privacy_manifest.json").read_text(encoding="utf-8"))
        for run in (whole, small)
    ]
    rounded = [item for item in manifests[1]["uploads"] if "bits" in item.get("exactness", "")]
    numbers = sum(item["bytes"] for item in rounded)
    saved = 3 * numbers - 4 * len(rounded)
    assert manifests[1]["upload_bytes"] == manifests[0]["upload_bytes"] - saved
    # Two scenarios, rounds and aggregations.
    codes = [array for array in passed if np.asarray(array).dtype == np.int8]
    assert sum(array.nbytes for array in codes) == 8 * numbers
    received = run_model.load(small, "nl", received=True)
    for item in groups.tag(received):
        if f"common/{item.name}" in small.load(2).server:
            np.testing.assert_array_equal(
                item.variable.numpy(), small.load(2).server[f"common/{item.name}"]
            )
    for name, value in whole.load(2).server.items():
        if name.startswith("common/") and value.size:
            moved = np.abs(value - small.load(2).server[name]).max()
            assert moved < 0.1, name


def test_what_cannot_be_small_is_refused(two, tmp_path):
    with pytest.raises(errors.PfrecError, match="nothing is sent"):
        plan_lib.Plan("pooled_mmoe", upload_bits=8)
    local = plan_lib.Plan("local", model=SHAPE, upload_bits=8)
    with pytest.raises(errors.PfrecError, match="nothing that is trained leaves"):
        federation.Federation(local, two)
    with pytest.raises(errors.PfrecError, match="must be 8, 16 or 32"):
        dataclasses.replace(PLAN, upload_bits=12)
    told, small = options.Options(runtime="reference"), dataclasses.replace(PLAN, upload_bits=16)
    with pytest.raises(errors.PfrecError, match="runtime=reference"):
        loop.train(small, two, tmp_path / "run", options=told)
