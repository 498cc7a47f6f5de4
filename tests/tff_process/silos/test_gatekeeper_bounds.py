"""A hostile driver sends much, and noise: what it takes of the silo is bounded, and the silo stays
up.
"""

import multiprocessing
import pathlib
import random
import re

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_federated.proto.v0 import executor_pb2

from tests.tff_process.silos import flood
from tests.tff_process.silos import stand_in_worker as stand_in
from tff_process.runtime import remote
from tff_process.silos import gate_server, sessions


@pytest.mark.parametrize("value", [stand_in.tensor(0, np.int32), stand_in.named("train")])
def test_ten_thousand_values(driver, value):
    with stand_in.refused("more than 1000 values at once"):
        for _ in range(10_000):
            driver.value(value)


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


def test_memory_is_bounded_by_a_message_however_many_pass(tmp_path):
    """Forty values of 4 MB: a few copies of one at once, and nothing of it afterwards."""
    gatekeeper, worker, driver, message, _ = stand_in.made_for_a_large_value(
        tmp_path / "ledger.jsonl"
    )
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
        message = stand_in.damaged(chance.choice(kinds).SerializeToString(), chance)
        sent = noise if chance.random() < 0.2 else message
        assert stand_in.status(handle, sent) in stand_in.ANSWERS
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


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_compressed_message_takes_no_more_memory_than_it_has_bytes(silo, compression):
    """Of 200 MB of zeros 200 kB pass, which a bound on what is unpacked would come too late for."""
    lines = []
    server, port = gate_server.serve(silo[0], 1_000_000, lines.append)
    sender = multiprocessing.get_context("spawn").Process(
        target=flood.send_compressed, args=(port, 200_000_000, compression)
    )
    before = stand_in.resident("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    try:
        sender.start()
        sender.join(60)
        assert sender.exitcode == 0
    finally:
        sender.kill()
        server.stop(0).wait()
    assert stand_in.resident("VmHWM") - before < 20_000_000
    (line,) = lines
    assert line.startswith("CreateValue: refused: a malformed message of ")


def test_a_fault_of_its_own_is_told_to_the_silo_alone(silo):
    gatekeeper, worker, _ = silo
    worker.fails = KeyError("a word of the rows")
    lines = []
    handle = gate_server._handler("GetExecutor", gatekeeper.get_executor, lines.append)
    with pytest.raises(stand_in.AbortedError) as stop:
        handle(b"", stand_in.Context())
    code, said = stop.value.args
    assert code == grpc.StatusCode.INTERNAL
    assert said == "a fault of the silo's gatekeeper; the silo's logs/gatekeeper.log says more"
    (line,) = lines
    assert re.fullmatch(
        r"GetExecutor: a fault of the gatekeeper: KeyError: 'a word of the rows' "
        r"\(stand_in_worker.py:\d+\)",
        line,
    )


def test_the_log_is_bounded_and_of_single_lines(tmp_path):
    say = gate_server.log(tmp_path / "gatekeeper.log")
    say("first\nsecond \x1b[31m")
    assert (tmp_path / "gatekeeper.log").read_text().count("\n") == 1
    for _ in range(40):
        say("x" * 100_000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2_200_000
