"""A process that reaches few files: of what its user may read it reads what is named and no more,
writes below named directories alone, and has no environment but for what is allowed.

TFF's worker runs graphs, and a graph can read and write files. Here the kernel holds the process to
a list of paths (Landlock, Linux 5.13 and newer), for which nobody has to be root and which works in
containers too. What it does not do: it hides no names and sizes of files, and does not limit
processor or memory.

Reference: https://docs.kernel.org/userspace-api/landlock.html
"""

import ctypes
import os
import pathlib
import struct
import sys
from collections.abc import Mapping, Sequence

from pfrec import errors

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
# What there is to a file at all, by the version of Landlock that came with it.
_SINCE = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_TRUNCATE = 1 << 14
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_IOCTL_DEVICES = 1 << 15
# Abstract sockets and signals to processes outside.
_SCOPES, _SCOPES_SINCE = 0b11, 6

# What programs need of a system: libraries, and what TensorFlow asks of processors and memory.
SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"),
    *("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu"),
    *("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"),
)
# What of our own environment a process in a sandbox gets, where it is set.
ENVIRONMENT = (
    *("LANG", "LC_ALL", "TZ"),
    *("MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"),
    *("OMP_NUM_THREADS", "TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS"),
    *("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS"),
)


class NotPermittedError(errors.PfrecError):
    """The system has no such limits."""


class Sandbox:
    """The limits of a process that is yet to be started.

    Args:
      program: the file that it runs.
      readable: files and directories that it reads, with all below them, beside `SYSTEM`.
      writable: directories that it reads and writes in.

    Raises:
      NotPermittedError: where the system does not permit it.
      PfrecError: where a path is not there.
    """

    def __init__(
        self,
        program: pathlib.Path,
        readable: "Sequence[pathlib.Path]",
        writable: "Sequence[pathlib.Path]",
    ) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        version = self._call(_CREATE_RULESET, None, 0, _VERSION)
        handled = sum(rights for since, rights in _SINCE.items() if since <= version)
        attributes = struct.pack("QQQ", handled, 0, _SCOPES)
        # Older versions take the beginning of it.
        size = 24 if version >= _SCOPES_SINCE else 8
        self._ruleset = self._call(_CREATE_RULESET, attributes[:size], size, 0)
        reads = _READ_FILE | _READ_DIR
        system = [pathlib.Path(path) for path in SYSTEM if os.path.exists(path)]
        try:
            for path, rights in (
                (program, _READ_FILE | _EXECUTE),
                *((path, reads | _EXECUTE) for path in system),
                *((path, reads) for path in readable),
                *((path, handled & ~_EXECUTE & ~_IOCTL_DEVICES) for path in writable),
            ):
                self._allow(path, rights & handled)
        except BaseException:
            self.close()
            raise

    def _allow(self, path: pathlib.Path, rights: int) -> None:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            raise errors.PfrecError(f"{path}: {error.strerror or error}") from error
        try:
            rights = rights if path.is_dir() else rights & _OF_FILES
            self._call(
                _ADD_RULE, self._ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0
            )
        finally:
            os.close(place)

    def enter(self) -> None:
        """Limits this process, and all that it starts, for good; for a child before its program
        runs, as by `subprocess.Popen`'s `preexec_fn`.
        """
        if self._libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "no_new_privs")
        if self._libc.syscall(_RESTRICT_SELF, self._ruleset, 0):
            raise OSError(ctypes.get_errno(), "landlock_restrict_self")

    def close(self) -> None:
        """Lets go of what a further child would need."""
        os.close(self._ruleset)

    def _call(self, number: int, *arguments: object) -> int:
        found = int(self._libc.syscall(number, *arguments))
        if found < 0:
            reason = os.strerror(ctypes.get_errno())
            raise NotPermittedError(
                f"this system has no sandbox without root ({reason}); it takes Linux 5.13 or newer "
                "with Landlock enabled, and a container that permits it"
            )
        return found


def permitted() -> bool:
    """Whether the system has such limits."""
    try:
        Sandbox(pathlib.Path(sys.executable), [], []).close()
    except NotPermittedError:
        return False
    return True


def environment(given: "Mapping[str, str]") -> "dict[str, str]":
    """The part of an environment that a process in a sandbox gets."""
    return {name: given[name] for name in ENVIRONMENT if name in given}
