"""Serves a gatekeeper by gRPC, and turns what it refuses into a line for the driver and one for the
silo's log.
"""

import concurrent.futures
import contextlib
import functools
import io
import logging
import logging.handlers
import os
import pathlib
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf import message as message_lib  # type: ignore[import-untyped]
from tensorflow_federated.proto.v0 import executor_pb2, executor_pb2_grpc

from pfrec import errors, files
from tff_process.runtime import together, worker_process
from tff_process.silos import directory as silo_directory
from tff_process.silos import forwarding, labels, leaving, ledger, remedies, sessions
from tff_process.silos import gatekeeper as gatekeeper_lib
from tff_process.silos import terms as terms_lib

_SERVICE = "tensorflow_federated.v0.ExecutorGroup"
_METHODS = {
    "GetExecutor": "get_executor",
    "CreateValue": "create_value",
    "CreateCall": "create_call",
    "CreateStruct": "create_struct",
    "CreateSelection": "create_selection",
    "Compute": "compute",
    "Dispose": "dispose",
    "DisposeExecutor": "dispose_executor",
}
# A driver does one or two at a time. Each may hold a message that is as large as the largest.
_MOST_CALLS = 8
_LOG_BYTES = 1_000_000


def serve(
    gatekeeper: gatekeeper_lib.Gatekeeper,
    most_bytes: int,
    say: Callable[[str], None],
    port: int = 0,
) -> "tuple[grpc.Server, int]":
    """Starts serving on this machine's loopback interface.

    Args:
      gatekeeper: answers the calls.
      most_bytes: of a message from a driver; a longer one is refused when all of it has come, and
        gRPC holds it until then.
      say: takes a line for every refusal and failure.
      port: to listen on; 0 for a free one.

    Returns:
      the server, which is to be stopped, and its port.

    Raises:
      PfrecError: where the port is taken.
    """
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(_MOST_CALLS, thread_name_prefix="gatekeeper"),
        maximum_concurrent_rpcs=_MOST_CALLS,
        options=(
            ("grpc.max_receive_message_length", most_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
            # Of one connection: what waits beyond the calls that are taken is in memory too.
            ("grpc.max_concurrent_streams", _MOST_CALLS),
            # gRPC looks at the size of what it has decompressed, and 1 byte may become 1,000. The
            # option is one of gRPC's own inner parts: a test tells where it goes.
            ("grpc.per_message_decompression", 0),
        ),
    )
    # Messages are parsed in the handler, so that one that cannot be is refused like everything
    # else.
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(_handler(name, getattr(gatekeeper, method), say))
        for name, method in _METHODS.items()
    }
    several = grpc.unary_unary_rpc_method_handler(_together_handler(gatekeeper, say))
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(_SERVICE, handlers),
            grpc.method_handlers_generic_handler(together.SERVICE, {together.METHOD: several}),
        )
    )
    try:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError as error:
        raise errors.PfrecError(
            f"127.0.0.1:{port}: cannot be listened on ({error}); choose another port"
        ) from error
    server.start()
    return server, bound


def _handler(
    name: str, method: Callable[..., Any], say: Callable[[str], None]
) -> Callable[[bytes, Any], bytes]:
    """Answers one call of the protocol."""
    kind, leaves = getattr(executor_pb2, f"{name}Request"), name == "Compute"

    def handle(message: bytes, context: grpc.ServicerContext) -> bytes:
        with _refusals(name, message, context, say):
            request = kind.FromString(message)
            # Of the eight, one lets something leave: the ledger says to whom.
            answer = method(request, _port(context)) if leaves else method(request)
            return answer if isinstance(answer, bytes) else answer.SerializeToString()

    return handle


def _together_handler(
    gatekeeper: gatekeeper_lib.Gatekeeper, say: Callable[[str], None]
) -> Callable[[bytes, Any], bytes]:
    """Answers several calls in one message."""

    def handle(message: bytes, context: grpc.ServicerContext) -> bytes:
        with _refusals(together.METHOD, message, context, say):
            try:
                packed = together.unpack(message)
            except ValueError as error:
                raise message_lib.DecodeError(str(error)) from error
            calls = [
                (
                    _METHODS[call.method],
                    call.name,
                    getattr(executor_pb2, f"{call.method}Request").FromString(call.request),
                )
                for call in packed
            ]
            return together.pack_answers(gatekeeper.together(calls, _port(context)))

    return handle


@contextlib.contextmanager
def _refusals(
    name: str, message: bytes, context: grpc.ServicerContext, say: Callable[[str], None]
) -> Iterator[None]:
    """Makes of what a gatekeeper raises a status for the driver, and a line for the silo."""
    try:
        yield
        return
    except message_lib.DecodeError:
        code, said = grpc.StatusCode.INVALID_ARGUMENT, "a malformed message"
        say(f"{name}: refused: {said} of {len(message)} bytes")
    except labels.RefusedError as error:
        code, said = grpc.StatusCode.PERMISSION_DENIED, f"{error}"
        say(f"{name}: refused: {said}")
    except sessions.GoneError as error:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
    except errors.PfrecError as error:
        code, said = (
            grpc.StatusCode.PERMISSION_DENIED,
            "to answer while its ledger cannot be written",
        )
        say(f"{name}: refused: {error}")
    except grpc.RpcError as error:
        # What the worker says may quote what it met in the rows: it stays here.
        code = error.code()  # type: ignore[attr-defined]
        say(
            f"{name}: the worker failed: {code.name}: "
            f"{' '.join(str(error.details()).split())[:2000]}"
        )  # type: ignore[attr-defined]
        context.abort(
            code,
            f"{code.name} in the silo's own computation; the silo's logs/gatekeeper.log says more",
        )
    except Exception as error:
        # gRPC would tell the driver what it says, and the silo nothing.
        place = traceback.extract_tb(error.__traceback__)[-1]
        say(
            f"{name}: a fault of the gatekeeper: {type(error).__name__}: {str(error)[:2000]} "
            f"({pathlib.Path(place.filename).name}:{place.lineno})"
        )
        context.abort(
            grpc.StatusCode.INTERNAL,
            "a fault of the silo's gatekeeper; the silo's logs/gatekeeper.log says more",
        )
    context.abort(code, f"the silo refuses {said}")


def _port(context: grpc.ServicerContext) -> int:
    """The port of this machine that a call comes from; 0 where it comes by none."""
    _, _, port = str(context.peer()).rpartition(":")
    return int(port) if port.isdecimal() else 0


class Gate:
    """A gatekeeper in front of a silo's worker, its ledger and its log.

    Args:
      terms: what it enforces.
      worker_port: of the worker on this machine; one that is started again there is found again.
      directory: of the client.
      whom: says who is at the other end of a connection from a port of this machine.
      tell: takes a line for the silo's owner, see `remedies`.

    Attributes:
      port: that a driver's connections are to be led to.
      used_up: see `leaving.used_up`, as it is when the gatekeeper starts.

    Raises:
      PfrecError: where the ledger cannot be written, or its chain is broken.
    """

    def __init__(
        self,
        terms: terms_lib.Terms,
        worker_port: int,
        directory: pathlib.Path,
        whom: Callable[[int], str],
        tell: Callable[[str], None],
    ) -> None:
        target = f"127.0.0.1:{worker_port}"
        self._channel = grpc.insecure_channel(target, worker_process.CHANNEL_OPTIONS)
        worker = executor_pb2_grpc.ExecutorGroupStub(self._channel)
        worker.CreateValue = self._channel.unary_unary(
            f"/{_SERVICE}/CreateValue",
            request_serializer=forwarding.create_value,
            response_deserializer=executor_pb2.CreateValueResponse.FromString,
        )
        # An answer leaves as it came: to write a large one anew takes as long as all else here.
        worker.Compute = self._channel.unary_unary(
            f"/{_SERVICE}/Compute",
            request_serializer=executor_pb2.ComputeRequest.SerializeToString,
        )
        self._ledger = ledger.Ledger(directory / ledger.FILE)
        self.used_up = leaving.used_up(terms, self._ledger.entries)
        gatekeeper = gatekeeper_lib.Gatekeeper(
            terms,
            worker,
            self._ledger,
            whom,
            silo_directory.Synced(directory).sync,
            functools.partial(silo_directory.states, directory),
        )
        say = remedies.telling(log(directory / silo_directory.LOGS / "gatekeeper.log"), tell)
        self._server, self.port = serve(gatekeeper, terms.receivable.most_bytes, say)

    def stop(self) -> None:
        """Ends all calls; what was not answered does not leave."""
        self._server.stop(None).wait()
        self._channel.close()
        self._ledger.close()


def log(path: pathlib.Path) -> Callable[[str], None]:
    """A log of bounded size: what a driver is refused, and when.

    Lines have no control characters, whatever the driver named.
    """
    handler = _OwnersLog(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.Logger("gatekeeper")
    logger.addHandler(handler)
    return lambda line: logger.warning("%s", "".join(c if c.isprintable() else "?" for c in line))


class _OwnersLog(logging.handlers.RotatingFileHandler):
    """Its files are their owner's alone, whatever the umask."""

    def _open(self) -> io.TextIOWrapper:
        descriptor = files.owners_alone(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        return os.fdopen(descriptor, "a", encoding="utf-8")
