"""How long a certificate holds, read from its file: neither a library nor openssl is needed at a
silo for it.

References:
  RFC 5280, section 4.1 (where the dates stand) and 4.1.2.5 (how they are written).
"""

import dataclasses
import datetime
import pathlib
import ssl

from pfrec import errors

# A certificate that ends sooner is spoken of at each start.
SOON = datetime.timedelta(days=30)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


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
          PfrecError: where it holds none.
        """
        try:
            text = path.read_text(encoding="ascii")
            end = "-----END CERTIFICATE-----"
            first = text[text.index("-----BEGIN CERTIFICATE-----") : text.index(end) + len(end)]
            _, body, _ = _element(ssl.PEM_cert_to_DER_cert(first), _SEQUENCE)
            _, rest, _ = _element(body, _SEQUENCE)
            if rest[0] == _VERSION:
                _, _, rest = _element(rest)
            for _ in ("serial number", "signature", "issuer"):
                _, _, rest = _element(rest)
            _, dates, _ = _element(rest, _SEQUENCE)
            kind, begins, dates = _element(dates)
            return cls(path, _time(kind, begins), _time(*_element(dates)[:2]))
        except (ValueError, IndexError) as error:
            raise errors.PfrecError(
                f"{path}: is no certificate in PEM; make certificates with pfrec-certificates and "
                "copy this party's"
            ) from error

    def fault(self) -> str:
        """Why it does not hold now; empty where it does."""
        now = _now()
        if now > self.ends:
            return f"{self.path}: ended on {day(self.ends)}"
        if now < self.begins:
            return f"{self.path}: holds from {day(self.begins)} on, and here it is {day(now)}"
        return ""

    def warning(self) -> str:
        """That it ends soon; empty where it does not."""
        left = self.ends - _now()
        return "" if left > SOON else f"{self.path}: ends on {day(self.ends)}, in {left.days} days"


def day(time: datetime.datetime) -> str:
    """A day as people and machines read it."""
    return f"{time:%Y-%m-%d}"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _element(data: bytes, expected: int = 0) -> "tuple[int, bytes, bytes]":
    """The tag and content of the first DER element, and what follows it.

    Raises:
      ValueError: where it is another than expected, or cut off.
    """
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if (expected and tag != expected) or len(data) < start + length:
        raise ValueError("no such element")
    return tag, data[start : start + length], data[start + length :]


def _time(kind: int, text: bytes) -> datetime.datetime:
    """A date as DER writes it.

    Raises:
      ValueError: where it is none.
    """
    if kind not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("no date")
    written = text.decode("ascii")
    if kind == _UTC_TIME:  # Two digits of a year from 1950 to 2049.
        written = ("19" if written[:2] >= "50" else "20") + written
    read = datetime.datetime.strptime(written, "%Y%m%d%H%M%SZ")
    return read.replace(tzinfo=datetime.timezone.utc)
