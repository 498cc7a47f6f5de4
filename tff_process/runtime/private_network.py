"""A network of its own for this process and the children it starts later: a loopback interface,
and no way in or out.

TFF's worker listens on all interfaces, without authentication, and cannot be told otherwise. In a
Linux network namespace there is nothing but loopback to listen on. A socket belongs to the
namespace in which it was made, so one that was opened before still takes connections from outside
and can be handed to the program that is meant to answer them.
"""

import ctypes
import fcntl
import logging
import os
import pathlib
import socket
import struct
from collections.abc import Iterator, Sequence

from pfrec import errors

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_OPEN = (
    "TFF's worker listens on every interface of this machine until the run ends, without "
    "authentication: whoever reaches its port can run programs as this user and read the rows; "
    "close the machine's ports by a firewall, or "
)
_PERMIT = (
    "run where network namespaces are permitted (as the owner of the files, or with CAP_SYS_ADMIN)"
)
_BY_COMMAND = "train with pfrec-train or pfrec-compare, which take a network of their own"

_log = logging.getLogger(__name__)
_warned: "list[str]" = []
_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 0x1, 0x40


def enter(read: "Sequence[pathlib.Path]" = (), write: "Sequence[pathlib.Path]" = ()) -> None:
    """Moves this process into a new network namespace with loopback up; a user namespace is made
    with it where root's rights are lacking.

    In a user namespace of one user, root's right to other users' files ends: what will be needed is
    looked at before.

    Call it while the process has one thread.

    Args:
      read: directories whose files will be read.
      write: directories that will be written, whether they are there already or not.

    Raises:
      PfrecError: where the system does not permit it, or a file would be out of reach.
    """
    if _unshare(_CLONE_NEWNET):
        if closed():
            return
        lost = _lost(read, write)
        if lost:
            raise errors.PfrecError(
                f"in a user namespace this process would no longer reach {lost}, which is another "
                "user's"
            )
        reason = _enter_user_namespace(_CLONE_NEWNET)
        if reason:
            raise errors.PfrecError(f"this system does not permit a network namespace ({reason})")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP | _IFF_RUNNING))


def enter_if_permitted(
    read: "Sequence[pathlib.Path]" = (), write: "Sequence[pathlib.Path]" = ()
) -> None:
    """The same where the system permits it; elsewhere nothing changes, and it is said what is open
    to the network then.
    """
    try:
        enter(read, write)
    except errors.PfrecError as error:
        warn_if_open(str(error))


def closed() -> bool:
    """Whether this process's network is loopback alone."""
    return [name for _, name in socket.if_nameindex()] in ([], ["lo"])


def warn_if_open(reason: str = "") -> None:
    """Says once what is open where this process's network is not its own.

    Args:
      reason: why it is not; empty where nobody tried.
    """
    if not closed() and not _warned:
        _warned.append(reason)
        told = f"{reason}; {_OPEN}{_PERMIT}" if reason else f"{_OPEN}{_BY_COMMAND}"
        _log.warning("%s", told)


def _enter_user_namespace(flags: int) -> str:
    """Why it failed; empty where it did not."""
    user, group = os.geteuid(), os.getegid()
    reason = _unshare(_CLONE_NEWUSER | flags)
    if not reason:
        # The same user and group as before: files stay as accessible as they were, and no others
        # become so.
        pathlib.Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        pathlib.Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        pathlib.Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    return reason


def _lost(read: "Sequence[pathlib.Path]", write: "Sequence[pathlib.Path]") -> str:
    """The first of these places that is within reach now and would not be in a user namespace, as a
    child process finds that tries it; empty for none.
    """
    within_reach = [(place, mode) for place, mode in _needed(read, write) if os.access(place, mode)]
    if not within_reach:
        return ""
    incoming, outgoing = os.pipe()
    child = os.fork()
    if not child:
        try:
            if not _enter_user_namespace(0):
                lost = next((p for p, mode in within_reach if not os.access(p, mode)), "")
                os.write(outgoing, os.fsencode(lost)[:4096])
        finally:
            os._exit(0)
    os.close(outgoing)
    with os.fdopen(incoming, "rb") as stream:
        lost = os.fsdecode(stream.read())
    os.waitpid(child, 0)
    return lost


def _needed(
    read: "Sequence[pathlib.Path]", write: "Sequence[pathlib.Path]"
) -> "Iterator[tuple[str, int]]":
    """Places, and what must be permitted there."""
    for root in write:
        place = root.absolute()
        while not place.exists():
            place = place.parent
        yield str(place), os.W_OK | os.X_OK
    for root, mode in [*((r, os.R_OK) for r in read), *((w, os.R_OK | os.W_OK) for w in write)]:
        for directory, _, names in os.walk(root):
            yield directory, mode | os.X_OK
            yield from ((os.path.join(directory, name), mode) for name in names)


def _unshare(flags: int) -> str:
    """Why it failed; empty where it did not."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        return "it is not Linux"
    return os.strerror(ctypes.get_errno()) if libc.unshare(flags) else ""
