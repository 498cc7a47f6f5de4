"""What stunnel's log says of connections: whom it led on, and why it did not."""

import re

# What stunnel says of a connection, by its number in brackets.
_SAID = re.compile(
    r"LOG5\[(\d+)\]: (?:Service \[silo\] accepted connection from (?P<peer>.+):\d+"
    r"|Certificate accepted at depth=0: (?P<certificate>.+)"
    r"|Service \[silo\] connected remote server from .+:(?P<port>\d+))$"
)
# What it says of a certificate that it refuses, in the lines of one connection, and in which words
# that then ends.
_REFUSED = re.compile(r"CERT: Pre-verification error: (.+)\n.*Rejected by CERT at (depth=\d+: .+)")
_VERIFY_FAILED = re.compile(r"LOG\d(\[\d+\]: ).*certificate verify failed")


def reason(messages: str) -> str:
    """The last message of an error that stunnel says, without time and level, and before it what is
    wrong with which certificate where it refused one; empty where there is none.
    """
    lines = messages.splitlines()
    for line in reversed(lines):
        for mark in ("LOG3", "LOG4", "[!]"):
            if mark in line:
                told = line.split(mark, 1)[1]
                told = told.partition(":")[2].strip() or told.strip()
                failed = _VERIFY_FAILED.search(line)
                own = [other for other in lines if failed and failed.group(1) in other]
                refused = _REFUSED.findall("\n".join(own))
                return ": ".join((*refused[-1], told)) if refused else told
    return ""


def peer(messages: str, port: int) -> "tuple[str, str]":
    """The address and the name in the certificate of who was last led on by a connection from
    this machine's `port`, as stunnel says it; empty where it says nothing of it.
    """
    # Numbers of connections begin anew with stunnel, and ports come again.
    said: dict[str, dict[str, str]] = {}
    found = ("", "")
    for line in messages.splitlines():
        match = _SAID.search(line)
        if match is None:
            continue
        told = {name: value for name, value in match.groupdict().items() if value is not None}
        if "peer" in told:
            said[match.group(1)] = {}
        of = said.setdefault(match.group(1), {})
        of.update(told)
        if told.get("port") == str(port):
            found = (of.get("peer", "unknown address"), of.get("certificate", "unknown"))
    return found
