"""How a peer of `peers.py` speaks with it: a process of its own that says `ready LOSS` once, then
trains a round for every line of standard input and says its seconds and processor seconds.

Imported by Pythons that have neither pfrec nor TensorFlow.
"""

import os
import resource
import sys
import time
from collections.abc import Iterator


class Gate:
    """Between rounds: says what the last one took, and waits to be asked for the next. What is
    printed otherwise goes to standard error from here on.
    """

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        self._asked = os.fdopen(os.dup(0), "r")
        os.dup2(2, 1)
        self._began = (0.0, 0.0)

    def ready(self, loss: float) -> None:
        """Says the loss at the initial values."""
        self._say(f"ready {loss:.7f}")

    def wait(self) -> bool:
        """Whether another round is asked for."""
        asked = bool(self._asked.readline())
        self._began = time.perf_counter(), processor()
        return asked

    def done(self) -> None:
        now = time.perf_counter(), processor()
        self._say(f"{now[0] - self._began[0]:.6f} {now[1] - self._began[1]:.6f}")

    def _say(self, text: str) -> None:
        self._answers.write(text + "\n")
        self._answers.flush()


def processor() -> float:
    """Processor seconds of this process and all below it so far."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    tick = os.sysconf("SC_CLK_TCK")
    total = own.ru_utime + own.ru_stime
    for number in below(os.getpid()):
        fields = _stat(number)
        if fields:
            total += (int(fields[11]) + int(fields[12])) / tick
    return total


def most_memory(process: int) -> float:
    """The most resident gigabytes of a process and of each one below it that still runs, added."""
    total = 0
    for number in (process, *below(process)):
        try:
            with open(f"/proc/{number}/status") as stream:
                total += next((int(s.split()[1]) for s in stream if s.startswith("VmHWM")), 0)
        except OSError:  # It has just ended.
            continue
    return total / 1e6


def below(process: int) -> "Iterator[int]":
    """The processes that a process started, and those that these started."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        fields = _stat(int(name))
        if fields:
            parents[int(name)] = int(fields[1])
    waiting = [process]
    while waiting:
        above = waiting.pop()
        found = [number for number, parent in parents.items() if parent == above]
        yield from found
        waiting += found


def _stat(process: int) -> "list[str]":
    """What the kernel says of a process, from its state on; empty where it has ended."""
    try:
        with open(f"/proc/{process}/stat") as stream:
            return stream.read().rpartition(")")[2].split()
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit("a part of peers.py")
