"""A network of its own for this process and the children it starts later: a loopback interface,
and no way in or out.

TFF's worker listens on all interfaces, without authentication, and cannot be told otherwise. In a
Linux network namespace there is nothing but loopback to listen on. A socket belongs to the
namespace in which it was made, so one that was opened before still takes connections from outside
and can be handed to the program that is meant to answer them.
"""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import socket
import struct

from pfrec import errors

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 0x1, 0x40


def enter() -> None:
    """Moves this process into a new network namespace with loopback up; a user namespace is made
    with it where root's rights are lacking.

    Call it while the process has one thread.

    Raises:
      PfrecError: where the system does not permit it.
    """
    user, group = os.geteuid(), os.getegid()
    reason = _unshare(_CLONE_NEWNET)
    if reason:
        reason = _unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        if reason:
            raise errors.PfrecError(f"this system does not permit a network namespace ({reason})")
        # The same user and group as before: files stay as accessible as they were, and no others
        # become so.
        pathlib.Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        pathlib.Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        pathlib.Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP | _IFF_RUNNING))


def enter_if_permitted() -> None:
    """The same where the system permits it; elsewhere nothing changes,
    and what listens is open to the network.
    """
    with contextlib.suppress(errors.PfrecError):
        enter()


def _unshare(flags: int) -> str:
    """Why it failed; empty where it did not."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        return "it is not Linux"
    return os.strerror(ctypes.get_errno()) if libc.unshare(flags) else ""
