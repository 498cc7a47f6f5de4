"""A hostile driver tries everything that it can say; nothing private leaves,
and only checked values reach the worker.
"""

import dataclasses

import numpy as np
import pytest
from tensorflow_federated.proto.v0 import computation_pb2, executor_pb2

from pfrec import errors
from tests.tff_process.silos import stand_in_worker as stand_in
from tff_process.silos import continuing, labels, ledger, values


def test_an_honest_round_passes_and_is_in_the_ledger(silo, driver):
    _, worker, book = silo
    result = driver.train()
    worker.answers = [stand_in.tensor(9, np.int32), stand_in.report(0.25)]
    private = driver.select(result, 0)
    written = driver.call(
        "write",
        driver.struct(private=private, directory=driver.text(f"runs/{stand_in.ID}/version_00004")),
    )
    driver.fetch(written)
    answer = driver.fetch(driver.select(result, 1))
    assert answer == stand_in.report(0.25)
    begun, acknowledged, entry = book.entries
    assert (begun["what"], begun["training"]) == (ledger.TRAINING, stand_in.ID)
    assert acknowledged["what"] == labels.ACKNOWLEDGEMENT
    assert entry["leaves"] == [
        ["table", [3, 2], 24],
        ["examples", [], 4],
        ["serves", [2], 8],
        ["loss", [], 4],
    ]
    assert entry["work"] == [0, 5]
    assert entry["to"] == "unknown"
    assert entry["message_bytes"] == executor_pb2.ComputeResponse(value=answer).ByteSize()
    assert ledger.read(book._path)[0] == book.entries


def test_the_worker_gets_the_silos_own_computations_and_paths(silo, driver):
    _, worker, _ = silo
    driver.train()
    computations = [
        r.value.computation for r in worker.asked if isinstance(r, executor_pb2.CreateValueRequest)
    ]
    names = {c.reference.name for c in computations if c.WhichOneof("computation")}
    assert names == {"own start", "own secret", "own train"}
    texts = [
        text
        for request in worker.asked
        if isinstance(request, executor_pb2.CreateValueRequest)
        for array in _arrays(request.value)
        for text in array.string_list.value
    ]
    assert texts == [b"secret_of_rows", b"data/nl/train-00000.tfrecord"]


def _arrays(value):
    if value.WhichOneof("value") == "array":
        yield value.array
    for element in value.struct.element:
        yield from _arrays(element.value)


def test_no_computation_of_the_drivers_reaches_the_worker(silo, driver):
    _, worker, _ = silo
    before = len(worker.asked)
    graph = computation_pb2.Computation()
    graph.tensorflow.graph_def.value = b"read /etc/passwd"
    for value in (
        executor_pb2.Value(computation=graph),
        executor_pb2.Value(
            computation=computation_pb2.Computation(
                intrinsic=computation_pb2.Intrinsic(uri="federated_map")
            )
        ),
        executor_pb2.Value(sequence=executor_pb2.Value.Sequence(serialized_graph_def=b"graph")),
        executor_pb2.Value(federated=executor_pb2.Value.Federated()),
        executor_pb2.Value(),
        stand_in.named("noter"),
        stand_in.named(""),
    ):
        with stand_in.refused("own|sequence|federated|nothing|has"):
            driver.value(value)
    hidden = stand_in.shared()
    hidden.struct.element[0].value.struct.element[0].value.CopyFrom(
        executor_pb2.Value(computation=graph)
    )
    with stand_in.refused("not a tensor"):
        driver.value(hidden)
    assert len(worker.asked) == before


@pytest.mark.parametrize(
    "make",
    [
        lambda d: d.private(),
        lambda d: d.train(),
        lambda d: d.select(d.train(), 0),
        lambda d: d.call("secret", d.text("secret_of_rows")),
        lambda d: d.client(),
        lambda d: d.value(stand_in.shared()),
        lambda d: d.value(stand_in.named("train")),
    ],
)
def test_compute_answers_for_reports_metrics_and_acknowledgements_alone(silo, driver, make):
    reference = make(driver)
    silo[1].answers = [stand_in.report()]
    with stand_in.refused("does not leave|computation"):
        driver.fetch(reference)
    assert silo[1].answers, "the worker was asked"
    assert not silo[2].entries


def test_structures_cannot_smuggle(driver):
    private, secret = driver.private(), driver.call("secret", driver.text("secret_of_rows"))
    plain = {
        "shared": driver.value(stand_in.shared()),
        "personal": driver.value(stand_in.personal()),
    }
    with stand_in.refused("no computation takes"):
        driver.struct(**{**plain, "client": private})
    with stand_in.refused("no computation takes"):
        driver.struct(values=private, examples=driver.value(stand_in.tensor(0, np.int32)))
    with stand_in.refused("no computation takes"):
        driver.struct(path=driver.text("runs/finished.json"), text=private)
    with stand_in.refused("no computation takes"):
        driver.struct(path=driver.text("runs/finished.json"), text=secret)
    with stand_in.refused("no computation takes"):
        driver.struct(private=secret, directory=driver.text(f"runs/{stand_in.ID}/version_00001"))
    with stand_in.refused("no computation takes"):
        driver.struct(
            shared=private,
            personal=plain["personal"],
            directory=driver.text(f"runs/{stand_in.ID}/shared/round_00001"),
        )
    with stand_in.refused("no element"):
        driver.select(private, 0)
    with stand_in.refused("no element"):
        driver.select(driver.train(), -1)
    with stand_in.refused("no element"):
        driver.select(driver.train(), 2)
    for name in ("train", "evaluate", "write", "read", "start", "note", "facts", "count"):
        with stand_in.refused("takes"):
            driver.call(name, private)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "secret",
        "../secret",
        "data/nl/train-00000.tfrecord",
        "silo.json/../secret",
        f"runs/{stand_in.ID}/../../data",
        f"runs/{stand_in.ID}/version_00001/../x",
        f"runs/{stand_in.ID.upper()}/version_00001",
        f"runs/{stand_in.ID}/version_00001\n",
        f"runs/{stand_in.ID}/version_٠٠٠٠١",
        f"/runs/{stand_in.ID}/version_00001",
        "key.pem",
        "ledger.jsonl",
        "",
        "secret\0",
    ],
)
def test_paths_outside_are_no_names(silo, driver, name):
    before = len(silo[1].asked)
    with stand_in.refused("neither a name"):
        driver.text(name)
    assert len(silo[1].asked) == before


def test_notes_say_only_what_notes_say(silo, driver):
    for note in (
        '{"keep": [1, "x"]}',
        '{"keep": [-1]}',
        '{"keep": [1000000000]}',
        '{"keep": [true]}',
        "{}",
        "[]",
        '{"round": 1.5, "reason": "x"}',
        "nul",
        '{"keep": [1], "a": 1}',
        "[" * 9999,
        '{"round": 1, "reason": "\\ud800"}',  # Half a surrogate pair, which no UTF-8 has.
    ):
        with stand_in.refused("neither a name"):
            driver.text(note)
    told = (
        '{"scenario": "nl", "seed": 3, "data": "d1", "schema": {"tasks": [{"name": "ctr"}, '
        '{"name": "cvr"}]}, "private_version": 2, "round": 2, "run": "%s", '
        '"test": {"ctr": {"auc": 0.5}}}'
    )
    driver.text(told % stand_in.ID)
    with stand_in.refused("neither a name"):
        driver.text(told % "../../../etc")
    with stand_in.refused("neither a name"):
        driver.text((told % stand_in.ID).replace("0.5", '"rows of nl"'))
    # Names would stand on the card of the model that the silo publishes.
    for name, other in (('test": {"ctr"', 'test": {"ctr |\\n# Trusted"'), ('"auc"', '"<b>auc"')):
        with stand_in.refused("neither a name"):
            driver.text((told % stand_in.ID).replace(name, other))
    driver.text('{"round": 1, "reason": "%s"}' % ("x" * 5_000))
    assert len(values.text_of(silo[1].asked[-1].value)) < 1_100
    with stand_in.refused("whose scenario"):
        driver.text((told % stand_in.ID).replace("nl", "fr"))
    with stand_in.refused("neither a name"):
        driver.text((told % stand_in.ID).replace("0.5", "NaN"))
    with stand_in.refused("no computation takes"):
        driver.struct(
            path=driver.text(f"runs/{stand_in.ID}/keep.json"),
            text=driver.text('{"round": 1, "reason": "x"}'),
        )


def test_a_training_goes_on_from_another_by_the_agreed_plan_alone(tmp_path):
    plan = {"algorithm": "fedavg", "continues": True, "init_from": ""}
    taken = stand_in.terms().receivable
    taken = dataclasses.replace(taken, continued=plan)
    note = continuing.note(stand_in.ID, {**plan, "init_from": "/a/run"})
    name = f"runs/{stand_in.ID}/continue.json"
    driver = stand_in.Driver(stand_in.made(tmp_path / "may.jsonl", receivable=taken)[0])
    driver.struct(path=driver.text(name), text=driver.text(note))
    with stand_in.refused("by another plan than the one agreed"):
        driver.text(continuing.note(stand_in.ID, {**plan, "algorithm": "local"}))
    with stand_in.refused("neither a name"):
        driver.text(note.replace(stand_in.ID, "../x"))
    with stand_in.refused("no computation takes"):
        driver.struct(path=driver.text(f"runs/{stand_in.ID}/keep.json"), text=driver.text(note))
    driver = stand_in.Driver(stand_in.made(tmp_path / "may_not.jsonl")[0])
    with stand_in.refused("by another plan than the one agreed"):
        driver.text(note)


def test_values_are_of_their_type_finite_and_whole(silo, driver):
    before = len(silo[1].asked)
    wrong = stand_in.shared(np.nan), stand_in.shared(np.inf)
    for value in wrong:
        with stand_in.refused("common/table: holds values that are not finite"):
            driver.value(value)
    with stand_in.refused(r"common/table: float32\[2,3\], where float32\[3,2\] is agreed"):
        driver.value(
            stand_in.struct(
                common=stand_in.struct(table=stand_in.tensor(np.zeros([2, 3]))),
                consensus=stand_in.struct(),
            )
        )
    with stand_in.refused("float64"):
        driver.value(
            stand_in.struct(
                common=stand_in.struct(table=stand_in.tensor(np.zeros([3, 2]), np.float64)),
                consensus=stand_in.struct(),
            )
        )
    short = stand_in.shared()
    short.struct.element[0].value.struct.element[0].value.array.content = b"\0" * 20
    with stand_in.refused("do not make up"):
        driver.value(short)
    with stand_in.refused("tasks"):
        driver.value(stand_in.tensor([1.0, 0.0]))
    with stand_in.refused("client -1"):
        driver.value(stand_in.tensor(-1, np.int32))
    with stand_in.refused("client 1000000"):
        driver.value(stand_in.personal(1_000_000))
    with stand_in.refused("shards that are not"):
        driver.value(
            stand_in.tensor(
                np.array([*stand_in.SHARDS["train"], *stand_in.SHARDS["test"]], object), np.str_
            )
        )
    with stand_in.refused("rows of training|other rows"):
        driver.value(stand_in.work(shards=stand_in.SHARDS["valid"]))
    unknown = executor_pb2.Value.FromString(
        stand_in.shared().SerializeToString() + b"\xfa\x3f\x03abc"
    )
    with stand_in.refused("does not know"):
        driver.value(unknown)
    assert len(silo[1].asked) == before


def test_a_private_state_begins_as_the_plan_says(tmp_path):
    """Else a driver has one user's rows of a private table alone pass a signal on."""
    own = np.arange(6, dtype=np.float32).reshape(3, 2)
    taken = dataclasses.replace(stand_in.terms().receivable, begins={"user": own})
    silo = stand_in.made(tmp_path / "ledger.jsonl", receivable=taken)
    driver = stand_in.Driver(silo[0])

    def begin(values):
        driver.call("start", driver.value(stand_in.struct(user=stand_in.tensor(values))))

    begin(own)
    begin(own * np.float32(1 + 1e-6))  # another machine's arithmetic
    asked = len(silo[1].asked)
    for other in (own * 1.1, own + 1e-3, own[::-1], np.zeros([3, 2])):
        with stand_in.refused("first values of user that are not the plan's"):
            begin(other)
    assert len(silo[1].asked) == asked


def test_what_is_not_in_the_ledger_does_not_leave(silo, driver, monkeypatch):
    _, worker, book = silo
    result = driver.select(driver.train(), 1)
    worker.answers = [stand_in.report()] * 2
    monkeypatch.setattr(
        ledger,
        "_sync",
        lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    with pytest.raises(errors.PfrecError, match="No space left"):
        driver.fetch(result)
    monkeypatch.undo()
    driver.fetch(result)
    assert [entry["what"] for entry in ledger.read(book._path)[0]] == [labels.REPORT]


def test_an_answer_of_another_type_does_not_leave(silo, driver):
    silo[1].answers = [stand_in.tensor(np.zeros([100]))]
    with stand_in.refused("not of the type agreed"):
        driver.fetch(driver.select(driver.train(), 1))
