"""The checks of a running model server: its answers against those of a version's files,
and that errors are errors.
"""

import pathlib
from typing import Optional

from export.checks import server_expectations
from export.checks import version as version_checks
from pfrec import errors


def check(
    directory: pathlib.Path, *, grpc: Optional[str], rest: Optional[str], timeout: float
) -> "list[version_checks.Check]":
    """Holds a running server against a version's files.

    Args:
      directory: of a version that passed `version_checks.verify`; its name is the version asked
        for, where that is a number.
      grpc: HOST:PORT of the server's gRPC port; None to leave it out.
      rest: HOST:PORT of its REST port; None to leave it out.
      timeout: deadline of each request, in seconds.

    Raises:
      PfrecError: where no server answers in time, or the directory cannot be read.
    """
    from export.checks import grpc_server, rest_server

    wanted, made = server_expectations.expected(directory), version_checks.Checklist()
    try:
        if grpc is not None:
            grpc_server.check(made, wanted, grpc, timeout)
        if rest is not None:
            rest_server.check(made, wanted, rest, timeout)
    except server_expectations.UnreachableError as error:
        raise errors.PfrecError(str(error)) from error
    return made.checks
