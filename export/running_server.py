"""The checks of a running model server: its answers against those of a version's files, and that errors are errors."""

import pathlib
from typing import Optional

from export import endpoint, verification
from pfrec import errors


def check(directory: pathlib.Path, *, grpc: Optional[str], rest: Optional[str], timeout: float) -> "list[verification.Check]":
    """Holds a running server against a version's files.

    Args:
      directory: of a version that passed `verification.verify`; its name is the version asked for, where that is a number.
      grpc: HOST:PORT of the server's gRPC port; None to leave it out.
      rest: HOST:PORT of its REST port; None to leave it out.
      timeout: deadline of each request, in seconds.

    Raises:
      PfrecError: where no server answers in time, or the directory cannot be read.
    """
    from export import grpc_endpoint, rest_endpoint

    wanted, made = endpoint.expected(directory), verification.Checklist()
    try:
        if grpc is not None:
            grpc_endpoint.check(made, wanted, grpc, timeout)
        if rest is not None:
            rest_endpoint.check(made, wanted, rest, timeout)
    except endpoint.UnreachableError as error:
        raise errors.PfrecError(str(error)) from error
    return made.checks
