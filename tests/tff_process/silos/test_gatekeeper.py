"""A hostile driver tries everything that it can say; nothing private leaves,
and only checked values reach the worker.
"""

import dataclasses
import pathlib
import random

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_federated.proto.v0 import computation_pb2, executor_pb2

from pfrec import errors
from tests.tff_process.silos import stand_in_worker as stand_in
from tff_process.commands import ledger as ledger_command
from tff_process.privacy import mechanism
from tff_process.runtime import remote
from tff_process.silos import continuing, gate_server, labels, ledger, sessions, values
from tff_process.silos import gatekeeper as gatekeeper_lib


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
    assert texts == [b"secret", b"data/nl/train-00000.tfrecord"]


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
        lambda d: d.call("secret", d.text("secret")),
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
    private, secret = driver.private(), driver.call("secret", driver.text("secret"))
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
    ):
        with stand_in.refused("neither a name"):
            driver.text(note)
    told = (
        '{"scenario": "nl", "seed": 3, "private_version": 2, "round": 2, "run": "%s", "test": '
        '{"ctr": {"auc": 0.5}}}'
    )
    driver.text(told % stand_in.ID)
    with stand_in.refused("neither a name"):
        driver.text(told % "../../../etc")
    with stand_in.refused("neither a name"):
        driver.text((told % stand_in.ID).replace("0.5", '"rows of nl"'))
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


def test_evaluation_is_of_valid_and_test_and_counting_of_train(driver):
    shards = {
        split: driver.value(stand_in.tensor(np.array(names, object), np.str_))
        for split, names in stand_in.SHARDS.items()
    }
    parts = {"client_id": driver.value(stand_in.tensor(0, np.int32)), "private": driver.private()}
    for split in ("valid", "test"):
        driver.struct(**parts, shards=shards[split])
        with stand_in.refused("count takes"):
            driver.call("count", shards[split])
    with stand_in.refused("no computation takes"):
        driver.struct(**parts, shards=shards["train"])
    driver.call("count", shards["train"])


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"steps": 1}, "at least 4"),
        ({"steps": 0}, "at least 4"),
        ({"steps": -5}, "at least 4"),
        ({"first_step": 1}, "not one of its aggregation steps"),
        ({"first_step": -20}, "round 0"),
        ({"first_step": 40}, "round 3; the agreement has 2"),
        ({"steps": 40}, "not one of its"),
        ({"epoch_steps": 1}, "an epoch has 20"),
        ({"learning_rate": 1e6}, "learning rate"),
        ({"seed": 4}, "seed agreed is 3"),
        ({"task_weights": [2.0, 1.0]}, "other task weights than agreed"),
        ({"positive_weights": [1.0, 9.0]}, "other weights of positive rows than agreed"),
    ],
)
def test_work_is_what_was_agreed(driver, asked, match):
    with stand_in.refused(match):
        driver.value(stand_in.work(**asked))


def test_the_ledger_says_to_whom_it_was(silo, driver):
    gatekeeper, worker, book = silo
    result = driver.select(driver.train(), 1)
    worker.answers = [stand_in.report()] * 3
    asked = executor_pb2.ComputeRequest(executor=driver.executor, value_ref=result)
    for port in (4711, 4712, 4711):
        gatekeeper.compute(asked, port)
    assert [entry["to"] for entry in book.entries] == ["10.0.0.9", "unknown", "10.0.0.9"]


def test_two_grids_of_work_would_tell_a_single_batch(driver):
    driver.value(stand_in.work(0, 5))
    with stand_in.refused("not one of its"):
        driver.value(stand_in.work(0, 6))  # A third of a round, where it was cut into four.


def test_replays_end_with_the_agreement(silo, driver):
    _, worker, book = silo
    result = driver.select(driver.train(), 1)
    worker.answers = [stand_in.report()] * 20
    for _ in range(8):
        driver.fetch(result)
    with stand_in.refused("report after the agreement's 8 have left"):
        driver.fetch(result)
    with stand_in.refused("report after"):
        driver.train()
    # Nor does a new start of the silo begin anew.
    again = gatekeeper_lib.Gatekeeper(stand_in.terms(), worker, book)
    with stand_in.refused("report after"):
        stand_in.Driver(again).train()


def evaluated(worker, driver, value, spreads=None, shape=(2, 4)):
    """An evaluation of values, at several spreads or as they are."""
    names = np.array(stand_in.SHARDS["valid"], object)
    parts = {}
    if spreads is not None:
        parts["serves"] = driver.value(stand_in.tensor([1.0, 1.0]))
        parts["spreads"] = driver.value(spreads)
    client = driver.struct(
        client_id=driver.value(stand_in.tensor(0, np.int32)),
        private=driver.private(),
        shards=driver.value(stand_in.tensor(names, np.str_)),
        **parts,
    )
    argument = driver.struct(
        shared=driver.value(stand_in.shared(value)),
        personal=driver.value(stand_in.personal()),
        client=client,
    )
    worker.answers = [stand_in.tensor(np.zeros(shape), np.float64)]
    return driver.fetch(driver.call("evaluate", argument))


def test_questions_by_evaluations_end_with_the_agreement(silo, driver):
    """Each is of other values, so that it answers something else."""
    _, worker, book = silo
    for number in range(6):
        evaluated(worker, driver, float(number))
    with stand_in.refused("metrics after the agreement's 6 have left"):
        evaluated(worker, driver, 6.0)
    again = gatekeeper_lib.Gatekeeper(stand_in.terms(), worker, book)
    with stand_in.refused("metrics after"):
        evaluated(worker, stand_in.Driver(again), 7.0)


def test_an_answer_of_several_spreads_is_as_many_evaluations(silo, driver):
    _, worker, book = silo
    several = stand_in.spreads()
    evaluated(worker, driver, 1.0, several, (3, 2, 4))
    evaluated(worker, driver, 2.0, stand_in.spreads([1.0]))
    # Four of six have left, and it would be three more.
    with stand_in.refused("metrics after the agreement's 6 have left"):
        evaluated(worker, driver, 3.0, several, (3, 2, 4))
    again = gatekeeper_lib.Gatekeeper(stand_in.terms(), worker, book)
    restarted = stand_in.Driver(again)
    with stand_in.refused("metrics after"):
        evaluated(worker, restarted, 4.0, several, (3, 2, 4))
    for number in range(2):
        evaluated(worker, restarted, float(number))
    with stand_in.refused("metrics after"):
        evaluated(worker, restarted, 5.0, stand_in.spreads([1.0]))
    left = [(e["what"], e["leaves"][0][1]) for e in book.entries if "metrics" in e["what"]]
    assert left[:2] == [(labels.SPREADS_METRICS, [3, 2, 4]), (labels.METRICS, [2, 4])]
    assert len(left) == 4


@pytest.mark.parametrize(
    "factors", [(), (0.5,), (1.0, 0.5), (1.0, 0.5, 2.0, 2.0), (1.0, 0.5, 1e30), (0.5, 1.0, 2.0)]
)
def test_the_spreads_evaluated_are_those_agreed(driver, factors):
    with stand_in.refused("other spreads in one answer than 1 alone or 1, 0.5, 2"):
        driver.value(stand_in.spreads(factors))


def test_an_answer_at_several_spreads_has_as_many_metrics(silo, driver):
    _, worker, _ = silo
    with stand_in.refused("not of the type agreed"):
        evaluated(worker, driver, 1.0, stand_in.spreads([1.0]), (3, 2, 4))
    with stand_in.refused("not of the type agreed"):
        evaluated(worker, driver, 1.0, stand_in.spreads(), (4, 2, 4))


def test_a_plan_that_finds_no_spread_takes_none(tmp_path):
    terms = stand_in.terms()
    terms = dataclasses.replace(
        terms, receivable=dataclasses.replace(terms.receivable, spreads=None)
    )
    gatekeeper, _, _ = stand_in.made(tmp_path / "ledger.jsonl", receivable=terms.receivable)
    with stand_in.refused("spreads, which the agreed plan does not find"):
        stand_in.Driver(gatekeeper).value(stand_in.spreads())


def test_no_more_trainings_begin_than_agreed(driver):
    def write(training):
        return driver.call(
            "write",
            driver.struct(
                private=driver.private(), directory=driver.text(f"runs/{training}/version_00000")
            ),
        )

    write(stand_in.ID)
    write(stand_in.ID)
    with stand_in.refused("another training: the agreement's 1 have begun"):
        write("f" * 16)
    with stand_in.refused("did not begin under this agreement"):
        driver.call("read", driver.text(f"runs/{'e' * 16}/version_00000"))


def test_ten_thousand_values(driver):
    with stand_in.refused("more than 1000 values at once"):
        for _ in range(10_000):
            driver.value(stand_in.tensor(0, np.int32))


def test_private_states_are_bounded(driver):
    with stand_in.refused("more than 64 private states"):
        for _ in range(100):
            driver.private()


def test_a_second_connection_takes_over_and_nobody_reaches_the_others_values(silo, driver):
    gatekeeper, worker, _ = silo
    mine = driver.select(driver.train(), 1)
    other = stand_in.Driver(gatekeeper)
    with pytest.raises(sessions.GoneError):
        driver.fetch(mine)
    for act in (
        other.fetch,
        other.dispose,
        lambda reference: other.select(reference, 0),
        lambda reference: other.call("train", reference),
    ):
        with stand_in.refused("does not have"):
            act(mine)
    assert (
        sum(isinstance(request, executor_pb2.DisposeExecutorRequest) for request in worker.asked)
        == 1
    )
    with pytest.raises(sessions.GoneError):
        gatekeeper.dispose_executor(executor_pb2.DisposeExecutorRequest(executor=driver.executor))


def test_disposing_is_all_or_none_and_frees_room(driver):
    one = driver.value(stand_in.tensor(0, np.int32))
    with stand_in.refused("does not have"):
        driver.dispose(one, executor_pb2.ValueRef(id="guessed"))
    driver.struct(
        client_id=one,
        private=driver.private(),
        shards=driver.value(stand_in.tensor(np.array(stand_in.SHARDS["test"], object), np.str_)),
    )
    driver.dispose(one)
    with stand_in.refused("does not have"):
        driver.dispose(one)


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


def test_memory_is_bounded_by_a_message_however_many_pass(tmp_path):
    """Forty values of 4 MB: a few copies of one at once, and nothing of it afterwards."""
    table = values.Tensor(values.FLOAT, (1 << 20,))
    own = stand_in.terms().receivable
    taken = dataclasses.replace(own, shared={"common": {"table": table}, "consensus": {}})
    gatekeeper, worker, _ = stand_in.made(tmp_path / "ledger.jsonl", receivable=taken)
    driver = stand_in.Driver(gatekeeper)
    value = stand_in.struct(
        common=stand_in.struct(table=stand_in.tensor(np.ones(1 << 20))), consensus=stand_in.struct()
    )
    message = executor_pb2.CreateValueRequest(
        executor=driver.executor, value=value
    ).SerializeToString()
    handle = gate_server._handler("CreateValue", gatekeeper.create_value, [].append)

    def pass_one():
        answer = executor_pb2.CreateValueResponse.FromString(handle(message, stand_in.Context()))
        driver.dispose(answer.value_ref)
        worker.asked.clear()

    pass_one()
    before = stand_in.resident("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    for _ in range(40):
        pass_one()
    assert stand_in.resident("VmHWM") - before < 5 * len(message)


@given(
    st.sampled_from(sorted(gate_server._METHODS)), st.binary(max_size=200), st.integers(0, 2**32)
)
@settings(max_examples=500, deadline=None)
def test_malformed_messages_are_refused(fuzzed, name, noise, seed):
    """Each example is twenty messages, which makes 10,000: noise,
    and well-formed ones with bytes changed.
    """
    lines = []
    gatekeeper, worker, _ = fuzzed
    driver = stand_in.Driver(gatekeeper)
    handle = gate_server._handler(
        name, getattr(gatekeeper, gate_server._METHODS[name]), lines.append
    )
    chance = random.Random(seed)
    reference = executor_pb2.ValueRef(id="1")
    kinds = [
        executor_pb2.CreateValueRequest(executor=driver.executor, value=stand_in.work()),
        executor_pb2.CreateValueRequest(executor=driver.executor, value=stand_in.shared()),
        executor_pb2.CreateCallRequest(
            executor=driver.executor, function_ref=reference, argument_ref=reference
        ),
        executor_pb2.CreateSelectionRequest(
            executor=driver.executor, source_ref=reference, index=1
        ),
    ]
    before = len(worker.asked)
    for _ in range(20):
        message = bytearray(chance.choice(kinds).SerializeToString())
        for _ in range(chance.randrange(1, 8)):
            message[chance.randrange(len(message))] = chance.randrange(256)
        sent = noise if chance.random() < 0.2 else bytes(message)
        assert stand_in.status(handle, sent) in (
            grpc.StatusCode.OK,
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.PERMISSION_DENIED,
            grpc.StatusCode.FAILED_PRECONDITION,
        )
    for request in worker.asked[before:]:
        if isinstance(request, executor_pb2.CreateValueRequest):
            assert request.value.WhichOneof("value") in ("array", "struct")


def test_over_the_wire_a_refusal_is_a_status_and_a_line_and_the_silo_stays_up(silo):
    gatekeeper, worker, _ = silo
    lines = []
    server, port = gate_server.serve(gatekeeper, 100_000, lines.append)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:

            def call(name, message):
                return channel.unary_unary(f"/tensorflow_federated.v0.ExecutorGroup/{name}")(
                    message, timeout=10
                )

            executor = executor_pb2.GetExecutorResponse.FromString(
                call("GetExecutor", b"")
            ).executor
            assert executor.id.startswith(f"{remote.GATEKEEPER}{'aa' * 32}/")
            noise = random.Random(7)
            for name in gate_server._METHODS:
                for size in (1, 50, 5_000):
                    if name != "GetExecutor":
                        with pytest.raises(grpc.RpcError):
                            call(name, noise.randbytes(size))
            with pytest.raises(grpc.RpcError) as stop:
                call("CreateValue", b"\0" * 200_000)
            assert stop.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            with pytest.raises(grpc.RpcError) as stop:
                call("Unknown", b"")
            assert stop.value.code() == grpc.StatusCode.UNIMPLEMENTED
            value = executor_pb2.CreateValueRequest(
                executor=executor, value=stand_in.shared(np.nan)
            )
            lines.clear()
            with pytest.raises(grpc.RpcError) as stop:
                call("CreateValue", value.SerializeToString())
            assert stop.value.code() == grpc.StatusCode.PERMISSION_DENIED
            assert (
                stop.value.details()
                == "the silo refuses shared values/common/table: holds values that are not finite"
            )
            assert lines == [
                "CreateValue: refused: shared values/common/table: holds values that are not finite"
            ]
            # What a worker says of its rows stays in the silo.
            worker.fails = stand_in.WorkerError()
            value = executor_pb2.CreateValueRequest(executor=executor, value=stand_in.shared())
            with pytest.raises(grpc.RpcError) as stop:
                call("CreateValue", value.SerializeToString())
            assert "4711" not in stop.value.details()
            assert "4711" in lines[-1]
            worker.fails = None
            assert call("CreateValue", value.SerializeToString())
    finally:
        server.stop(0).wait()


def test_the_log_is_bounded_and_of_single_lines(tmp_path):
    say = gate_server.log(tmp_path / "gatekeeper.log")
    say("first\nsecond \x1b[31m")
    assert (tmp_path / "gatekeeper.log").read_text().count("\n") == 1
    for _ in range(40):
        say("x" * 100_000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2_200_000


def test_reports_spend_the_budget_and_none_passes_it(tmp_path):
    (budget,) = mechanism.of(2.0, 1e-4, 1.0, 10, [100], [10]).budgets
    gate, worker, book = stand_in.made(tmp_path / "ledger.jsonl", budget=budget)
    driver = stand_in.Driver(gate)

    def ask(value):
        worker.answers = [stand_in.report(value)]
        driver.fetch(driver.select(driver.train(), 1))
        return book.entries[-1]["epsilon_spent"]

    first = ask(0.25)
    assert first == pytest.approx(budget.spent(5), abs=1e-4)
    # The same bytes again tell nothing new; another answer to the same work does.
    assert ask(0.25) == first
    assert first < ask(0.5) <= 2.0
    with stand_in.refused("would pass epsilon 2"):
        ask(0.75)
    entries = len(book.entries)
    assert ask(0.5) == book.entries[entries - 1]["epsilon_spent"]
    # A gatekeeper that is started again knows what was spent.
    again = gatekeeper_lib.Gatekeeper(gate._terms, worker, book)
    worker.answers = [stand_in.report(0.75)]
    other = stand_in.Driver(again)
    with stand_in.refused("would pass"):
        other.fetch(other.select(other.train(), 1))
    (told,) = ledger_command.privacy_spent(book.entries)
    assert told.startswith("bbbbbbbbbbbb: epsilon ")
    assert told.endswith(" spent at delta 0.0001")
    assert float(told.split()[2]) == pytest.approx(budget.spent(10), abs=1e-3)
    # Nor does it go on with another noise, as of a version that takes another batch.
    (other_batch,) = mechanism.of(2.0, 1e-4, 1.0, 20, [100], [20]).budgets
    with pytest.raises(errors.PfrecError, match=r"10 steps have spent .* agree anew"):
        gatekeeper_lib.Gatekeeper(
            dataclasses.replace(gate._terms, budget=other_batch), worker, book
        )


def test_what_a_home_model_may_be_asked():
    def driver(most):
        rules = dataclasses.replace(stand_in.terms().receivable.work, home_steps=most)
        return dataclasses.replace(stand_in.terms().receivable, work=rules)

    def asked(steps, split="valid"):
        made, given = executor_pb2.Value(), stand_in.work()
        for element in given.struct.element:
            made.struct.element.append(element)
            if element.name == "epoch_steps":
                made.struct.element.add(name="home_steps", value=stand_in.tensor(steps, np.int64))
                named = stand_in.tensor(np.array(stand_in.SHARDS[split], object), np.str_)
                made.struct.element.add(name="valid_shards", value=named)
        return made

    assert driver(60).receive(asked(60)).label == labels.WORK
    for steps in (61, -1):
        with stand_in.refused("a home model of"):
            driver(60).receive(asked(steps))
    for split in ("train", "test"):
        with stand_in.refused("chosen on other rows"):
            driver(60).receive(asked(60, split))
    with stand_in.refused(labels.WORK):
        driver(None).receive(asked(0))
    with stand_in.refused(labels.WORK):
        driver(60).receive(stand_in.work())
