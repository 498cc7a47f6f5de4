"""The plain relay."""

import contextlib
import socket
import time

import pytest

from tff_process.silos import relay


class Recorded(relay.Relay):
    """Keeps what passes."""

    def __init__(self, *arguments):
        self.passed = []
        super().__init__(*arguments)

    def received(self, connection, outward, data):
        self.passed.append((connection, outward, data))


@pytest.fixture
def ends():
    with (
        socket.create_server(("127.0.0.1", 0)) as outside,
        socket.create_server(("127.0.0.1", 0)) as inside,
    ):
        inside.settimeout(10)
        made = Recorded(outside, *inside.getsockname())
        yield outside.getsockname(), inside, made
        made.stop()


def test_bytes_pass_both_ways_and_an_end_is_passed_on(ends):
    address, inside, made = ends
    with socket.create_connection(address, 10) as one:
        other, _ = inside.accept()
        with other:
            one.sendall(b"question")
            assert other.recv(100) == b"question"
            other.sendall(b"answer")
            assert one.recv(100) == b"answer"
        assert one.recv(1) == b""
    assert made.passed == [(0, True, b"question"), (0, False, b"answer")]


def test_who_is_at_the_other_end_of_a_connection(ends):
    address, inside, made = ends
    with socket.create_connection(address, 10) as one:
        other, (_, port) = inside.accept()
        with other:
            one.sendall(b"question")
            assert other.recv(100) == b"question"
            assert made.peer(port) == "127.0.0.1"
            assert made.peer(port + 1) == ""
        assert one.recv(1) == b""
    assert made.peer(port) == ""


def test_a_large_transfer_is_whole(ends):
    address, inside, _ = ends
    content = bytes(range(256)) * 40_000
    with socket.create_connection(address, 10) as one:
        other, _ = inside.accept()
        with other:
            received = bytearray()
            one.settimeout(10)
            one.sendall(content[:1])
            # More than the buffers on the way hold, so that the writer must wait for the reader.
            import threading

            sender = threading.Thread(target=one.sendall, args=(content[1:],))
            sender.start()
            while len(received) < len(content):
                received += other.recv(1 << 20)
            sender.join()
    assert bytes(received) == content


def test_nobody_to_lead_to_closes_the_connection(ends):
    address, inside, _ = ends
    inside.close()
    with socket.create_connection(address, 10) as one:
        assert one.recv(1) == b""


def test_the_socket_stays_open_when_the_relay_stops():
    with (
        socket.create_server(("127.0.0.1", 0)) as outside,
        socket.create_server(("127.0.0.1", 0)) as inside,
    ):
        for _ in range(2):
            made = relay.Relay(outside, *inside.getsockname())
            with socket.create_connection(outside.getsockname(), 10) as one:
                inside.accept()[0].close()
                assert one.recv(1) == b""
            made.stop()


def test_connections_beyond_the_most_are_closed_at_once_and_room_comes_back(ends, monkeypatch):
    monkeypatch.setattr(relay, "MOST_CONNECTIONS", 3)
    address, inside, _ = ends
    held = [socket.create_connection(address, 10) for _ in range(3)]
    there = [inside.accept()[0] for _ in held]
    with socket.create_connection(address, 10) as one:
        assert one.recv(1) == b""
    for connection in (*held, *there):
        connection.close()
    for _ in range(100):
        with socket.create_connection(address, 10) as one:
            one.sendall(b"x")
            inside.settimeout(0.1)
            with contextlib.suppress(TimeoutError, socket.timeout):
                inside.accept()[0].close()
                return
    raise AssertionError("no room")


def test_idle_connections_do_not_lock_anybody_out(ends, monkeypatch):
    """More than the relay takes at once, and none of them says anything."""
    monkeypatch.setattr(relay, "FIRST_SECONDS", 0.5)
    address, inside, _ = ends
    with contextlib.ExitStack() as stack:
        for _ in range(relay.MOST_CONNECTIONS + 50):
            stack.enter_context(socket.create_connection(address, 10))
        assert _comes_through(address, inside, seconds=10)


def _comes_through(address, inside, seconds):
    """Whether somebody who tries again and again is led on in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(address, 10) as one:
            one.settimeout(1)
            one.sendall(b"question")
            inside.settimeout(1)
            while True:  # Those that ended are still in the queue, before it.
                other, _ = inside.accept()
                with other:
                    other.settimeout(1)
                    if other.recv(8) == b"question":
                        return True
        time.sleep(0.1)
    return False
