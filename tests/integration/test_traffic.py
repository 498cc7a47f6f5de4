"""What passes between driver and silo, accounted for to the last byte;
what must not pass is looked for in it and not found.
"""

import collections
import json
import re

import numpy as np
import pytest

from benchmarks import wire_capture
from pfrec import checkpoint
from tests.integration import silo_machines, two_silos
from tff_process import plan
from tff_process.process import spread
from tff_process.silos import training as silo_training
from tff_process.training import loop

ROUNDS = 3
PLAN = plan.Plan(
    "pf_msmtrec",
    rounds=ROUNDS,
    aggregations=1,
    batch_size=50,
    model=two_silos.MODEL,
)
# Numbers that occur nowhere by chance: eight equal float32 in a row in the data, and each in every
# private value.
PLANTED_IN_DATA = np.float32(-7654.321)
PLANTED_IN_STATE = np.float32(0.7654321)


@pytest.fixture(scope="module")
def data(schema, tmp_path_factory):
    """Two scenarios; one feature of some rows is a planted number."""
    return two_silos.data(schema, tmp_path_factory.mktemp("data") / "planted", PLANTED_IN_DATA)


@pytest.fixture(scope="module")
def captured(data, tmp_path_factory):
    """The traffic of nl's silo over a run that is resumed after its first round with a private
    state full of a planted number.
    """
    parent = tmp_path_factory.mktemp("silos")
    run = parent / "run"
    with (
        silo_machines.running(silo_machines.directories(data, parent), None) as running,
        two_silos.recorded(running) as (chosen, recorder),
    ):
        dataset = silo_training.survey(chosen, run)
        with pytest.raises(two_silos.StoppedError):
            loop.train(PLAN, dataset, run, options=chosen, progress=two_silos.stop)
        (version,) = running["nl"].directory.glob("runs/*/version_00001")
        values, owner = checkpoint.load(version)
        planted = {
            name: value if name.startswith("optimizer/") else np.full_like(value, PLANTED_IN_STATE)
            for name, value in values.items()
        }
        checkpoint.save(version, planted, owner)
        loop.train(PLAN, silo_training.survey(chosen, run), run, resume=True, options=chosen)
    manifest = json.loads((run / "privacy_manifest.json").read_text())
    return recorder.passed, wire_capture.decode(recorder.passed), manifest, values


def test_the_frames_make_up_all_bytes(captured):
    passed, traffic, _, _ = captured
    for outward, name in ((True, "out"), (False, "in")):
        assert (
            sum(traffic.bytes_by_frame[name].values())
            == sum(len(data) for (_, way), data in passed.items() if way == outward)
            > 0
        )
    assert set(traffic.headers) <= {
        *(
            ":authority",
            ":method",
            ":path",
            ":scheme",
            ":status",
            "accept-encoding",
            "content-type",
            "grpc-accept-encoding",
        ),
        *("grpc-status", "grpc-timeout", "te", "user-agent"),
    }
    assert traffic.headers["grpc-status"] == {"0"}


def test_what_a_silo_sends_is_its_facts_its_reports_its_metrics_and_how_long_a_file_became(
    captured,
):
    """Every answer that holds a value, by the names in it;
    every other holds the number of a value alone.
    """
    _, traffic, manifest, _ = captured
    uploads = {item["what"]: item for item in manifest["uploads"]}
    values = [
        item["what"]
        for item in manifest["uploads"]
        if item["what"] not in ("examples", "loss", "serves", "metrics", "spreads_metrics")
    ]
    found = collections.Counter()
    for call in traffic.calls:
        if call.method != "Compute":
            assert call.response is None or call.sizes[1] < 24, call.method
            continue
        arrays = list(wire_capture.leaves(call.response.value))
        sizes = [wire_capture.payload_bytes(array) for _, array in arrays]
        if [list(array.shape.dim) for _, array in arrays] == [
            item["shape"] for item in manifest["uploads_once"]
        ]:
            assert sum(sizes) == manifest["upload_bytes_once"]
            for _, array in arrays:
                assert set(np.unique(wire_capture.content(array))) <= {
                    0.0,
                    *(2.0**n for n in range(3, 20)),
                }
            found["row counts"] += 1
        elif len(arrays) > 1:
            # The worker sends structures without names, in the order of the report's type.
            assert len(arrays) == len(values) + 3
            told = [uploads[name]["bytes"] for name in ("metrics", "spreads_metrics")]
            assert sum(sizes) == manifest["upload_bytes"] - sum(told)
            for name, (_, array) in zip(values, arrays):
                assert list(array.shape.dim) == uploads[name]["shape"], name
            found["report"] += 1
        elif sizes in ([uploads[name]["bytes"]] for name in ("metrics", "spreads_metrics")):
            found["metrics"] += int(arrays[0][1].shape.dim[0])
        elif arrays[0][1].HasField("string_list"):
            facts = json.loads(wire_capture.content(arrays[0][1])[0])
            told = {"data", "format_version", "pfrec", "scenario", "schema", "shards", "tasks"}
            told.add("train_rows")
            assert set(facts) == told
            # Of the rows a digest keyed with the silo's secret: who lacks that cannot try rows out.
            assert re.fullmatch(r"[0-9a-f]{64}", facts["data"])
            found["facts"] += 1
        else:
            assert arrays[0][1].dtype == 3  # int32
            assert sizes == [4]
            found["count"] += 1
        # What surrounds the numbers: shapes, kinds and lengths.
        assert call.sizes[1] - sum(sizes) < 40 * len(arrays)
    assert found["row counts"] == 1
    assert found["report"] == ROUNDS
    # On valid with each spread, on test at the end.
    assert found["metrics"] == ROUNDS * (1 + len(spread.FACTORS)) + 1
    assert found["facts"] == 2


def test_what_a_silo_is_sent_is_shared_values_its_own_and_what_to_do(captured):
    _, traffic, manifest, private = captured
    downloads = sum(item["bytes"] for item in manifest["downloads"])
    consensus = sum(item["bytes"] for item in manifest["evaluation_downloads"])
    initial = sorted(name for name in private if not name.startswith("optimizer/"))
    found = collections.Counter()
    for call in traffic.calls:
        if call.method != "CreateValue":
            assert call.sizes[0] < 400, call.method
            continue
        value = call.request.value
        kind = value.WhichOneof("value")
        if kind == "computation":
            found["computation"] += 1
            continue
        arrays = dict(wire_capture.leaves(value))
        size = sum(map(wire_capture.payload_bytes, arrays.values()))
        parts = {name.split("/")[0] for name in arrays}
        if parts == {"factors", "consensus"}:
            factors = len(wire_capture.content(arrays["factors"]))
            assert size == 4 * factors + consensus
            found[f"{factors} spreads"] += 1
        elif parts <= {"common", "consensus"} or parts == {"client_id", "values"}:
            found["from the server"] += size
        elif "shards" in parts:
            assert parts == {
                "shards",
                "seed",
                "first_step",
                "steps",
                "epoch_steps",
                "learning_rate",
                "task_weights",
                "positive_weights",
            }
            found["work"] += 1
        elif len(arrays) == 1 and "" in arrays:
            assert size < 3000  # A path, a note, a number, or which tasks it serves.
            found["small"] += 1
        else:
            assert sorted(arrays) == initial
            found["first values"] += 1
    assert found["work"] == ROUNDS
    assert (found[f"{1 + len(spread.FACTORS)} spreads"], found["1 spreads"]) == (ROUNDS, 1)
    # Each state of the server once: the initial one, after each round but the last one's for the
    # next, and those it is restored to.
    assert found["from the server"] % (downloads + 4) == 0
    # What every client starts from follows from the seed; it is sent once in a session that needs
    # it.
    assert found["first values"] <= 2
    assert found["computation"] > 0


def test_planted_values_are_never_found(captured):
    passed, traffic, _, private = captured
    # As it passed, and put together where a frame cuts a message.
    everything = b"".join(bytes(data) for data in passed.values())
    everything += b"".join(
        m.SerializeToString()
        for call in traffic.calls
        for m in (call.request, call.response)
        if m is not None
    )
    assert len(everything) > 100_000
    for planted in (PLANTED_IN_DATA, PLANTED_IN_STATE):
        for kind in (np.float32, np.float64):
            assert np.array(planted, kind).tobytes() not in everything
    # The search would find them: what the silo did send is in the capture as it is.
    answers = [
        list(wire_capture.leaves(call.response.value))
        for call in traffic.calls
        if call.method == "Compute"
    ]
    report = next(arrays for arrays in answers if len(arrays) > 1)
    sent = max((wire_capture.content(array) for _, array in report), key=lambda value: value.nbytes)
    assert sent.nbytes >= 64
    assert sent.tobytes() in everything
    # And they were in the silo: in each of these variables, and in the data of every split.
    assert sum(1 for name in private if not name.startswith("optimizer/")) > 5
