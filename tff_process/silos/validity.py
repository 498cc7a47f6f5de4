"""How long a certificate holds, and for whom, read from its file."""

import dataclasses
import datetime
import pathlib
from collections.abc import Callable, Sequence

from cryptography import x509

from pfrec import errors, files

# A certificate that ends sooner is spoken of at each start.
SOON = datetime.timedelta(days=30)
# Where one is in use for long, it is spoken of again as so much is left.
_LEFT = (SOON, datetime.timedelta(days=7), datetime.timedelta(days=1), datetime.timedelta(0))


@dataclasses.dataclass(frozen=True)
class Validity:
    """From when to when a certificate holds.

    Attributes:
      path: of its file.
      begins, ends: in UTC.
    """

    path: pathlib.Path
    begins: datetime.datetime
    ends: datetime.datetime

    @classmethod
    def read(cls, path: pathlib.Path) -> "Validity":
        """Of the first certificate in a PEM file.

        Raises:
          PfrecError: where it cannot be read or holds none.
        """
        found = _certificate(path)
        return cls(path, found.not_valid_before_utc, found.not_valid_after_utc)

    def fault(self) -> str:
        """Why it does not hold now; empty where it does."""
        now = _now()
        if now > self.ends:
            return f"{self.path}: ended on {day(self.ends)}"
        if now < self.begins:
            begins, here = _minute(self.begins), _minute(now)
            told = f"{self.path}: holds from {begins} on, and this machine's clock says {here}"
            return f"{told}: set it if it is wrong"
        return ""

    def warning(self) -> str:
        """That it ends soon; empty where it does not."""
        left = self.ends - _now()
        return "" if left > SOON else f"{self.path}: ends on {day(self.ends)}, in {left.days} days"


class Watch:
    """Says of certificates in use, once each time, that 30, 7 and 1 days are left, and that they
    have ended: what was said of them at the start may be long ago.

    Args:
      held: the certificates, each with what to do about it, as a clause.
      say: takes a line.
    """

    def __init__(
        self, held: "Sequence[tuple[Validity, str]]", say: "Callable[[str], None]"
    ) -> None:
        self._held, self._say = held, say
        self._said = [_passed(one) for one, _ in held]

    def look(self) -> None:
        """Says what is to be said now."""
        for number, (one, remedy) in enumerate(self._held):
            passed = _passed(one)
            if passed > self._said[number]:
                self._said[number] = passed
                self._say(f"WARNING: {one.fault() or one.warning()}; {remedy}")


def _passed(one: Validity) -> int:
    """How many of `_LEFT` are behind a certificate."""
    left = one.ends - _now()
    return sum(left < bound for bound in _LEFT)


def hosts(path: pathlib.Path) -> "list[str]":
    """The names of hosts that the first certificate in a PEM file is for.

    Raises:
      PfrecError: where it cannot be read or holds none.
    """
    try:
        named = _certificate(path).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return named.value.get_values_for_type(x509.DNSName)


def covers(host: str, name: str) -> bool:
    """Whether a certificate for `host` holds for `name`, as TLS has it: letters of either case are
    the same, and a first label `*` stands for any one.
    """
    host, name = host.lower(), name.lower()
    first, _, rest = host.partition(".")
    return host == name or (first == "*" and rest == name.partition(".")[2])


def _certificate(path: pathlib.Path) -> x509.Certificate:
    try:
        with files.readable_errors(path):
            return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise errors.PfrecError(
            f"{path}: is no certificate in PEM; make certificates with pfrec-certificates and "
            "copy this party's"
        ) from error


def day(time: datetime.datetime) -> str:
    """A day as people and machines read it."""
    return f"{time:%Y-%m-%d}"


def _minute(time: datetime.datetime) -> str:
    """To the minute, as a clock is wrong by less than a day."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
