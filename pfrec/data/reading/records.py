"""Cuts delimited text into records (RFC 4180) and blocks of whole records,
whatever the size of what is read at once.

Text without irregularities is cut by counting quotes in NumPy; any other is scanned field by field,
which also finds the records that cannot be read: a quoted value that is never closed or goes on
after its closing quote, a NUL byte, a carriage return inside a line. A record counts unless its
line is empty.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Optional

import numpy as np

from pfrec import errors
from pfrec.data.reading import raw_file

# A quoted value longer than this was never closed. Also the longest line, where no quote explains
# it.
MAX_RECORD_BYTES = 1 << 20

_QUOTED = re.compile(rb'"[^"]*(?:""[^"]*)*"')
_NEWLINE, _RETURN, _QUOTE = 10, 13, 34


@dataclasses.dataclass(frozen=True)
class Record:
    """A record within a text.

    Attributes:
      start: offset of its first byte.
      end: offset after its line end.
      line: line ends before it in the text.
      fields: how many values it has.
      fault: why it cannot be read (`unclosed_quote`, `text_after_quote`, `nul_byte`,
        `carriage_return`), or None.
    """

    start: int
    end: int
    line: int
    fields: int
    fault: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Block:
    """Whole records of a file.

    Attributes:
      text: the bytes.
      offset: where they start in the (decompressed) file.
      line: the line (from 1) that they start on.
      lines: how many line ends they have.
      regular: whether no record has a fault of its own and quotes stand where they belong; a faster
        parser may be trusted then.
      ended: whether the file ends with this block.
    """

    text: bytes
    offset: int
    line: int
    lines: int
    regular: bool
    ended: bool


def blocks(
    file: raw_file.RawFile,
    delimiter: bytes,
    *,
    offset: int,
    line: int,
    block_bytes: int,
    quoted: bool = True,
) -> Iterator[Block]:
    """Yields a file from `offset` on, cut after whole records.

    The records do not depend on `block_bytes`.

    Args:
      file: the file.
      delimiter: one byte.
      offset: where to start; the start of a record.
      line: the line (from 1) there.
      block_bytes: how much is read at once.
      quoted: whether a quote opens a value that may hold delimiters and line ends.

    Raises:
      PfrecError: where the file cannot be read, or has a line that is longer than
        `MAX_RECORD_BYTES`.
    """
    with file.open() as stream:
        stream.seek(offset)
        rest = b""
        while True:
            read = stream.read(block_bytes)
            text = rest + read
            ended = not read
            end, regular = _cut(text, delimiter, ended, quoted)
            if end == 0 and len(text) > 2 * MAX_RECORD_BYTES:
                raise errors.PfrecError(
                    f"{file}: line {line}: longer than {MAX_RECORD_BYTES:,} bytes; not a text file "
                    "with lines?"
                )
            lines = (
                int(np.count_nonzero(np.frombuffer(text, np.uint8, end) == _NEWLINE)) if end else 0
            )
            if end:
                yield Block(text[:end], offset, line, lines, regular, ended)
            offset, line, rest = offset + end, line + lines, text[end:]
            if ended:
                return


def scan(text: bytes, delimiter: bytes, ended: bool, quoted: bool = True) -> "list[Record]":
    """The records of a text that starts with one;
    those that more text could still change are left out unless `ended`.
    """
    found = []
    start = line = 0
    while start < len(text):
        newline = text.find(b"\n", start)
        if newline < 0 and not ended:
            break
        end = newline + 1 if newline >= 0 else len(text)
        if quoted and b'"' in text[start:end]:
            record = _quoted(text, start, line, delimiter, ended)
            if record is None:
                break
        else:
            content = content_of(text, start, end)
            fault = "carriage_return" if b"\r" in content else None
            record = Record(start, end, line, content.count(delimiter) + 1 if content else 0, fault)
        if b"\0" in text[record.start : record.end]:
            record = dataclasses.replace(record, fault="nul_byte")
        if record.fields:
            found.append(record)
        start, line = record.end, line + text.count(b"\n", start, record.end)
    return found


def content_of(text: bytes, start: int, end: int) -> bytes:
    """A record's bytes without its line end."""
    content = text[start:end]
    if content.endswith(b"\n"):
        content = content[:-1]
    return content[:-1] if content.endswith(b"\r") else content


def _quoted(text: bytes, start: int, line: int, delimiter: bytes, ended: bool) -> Optional[Record]:
    """The record at `start`, one of whose values may be quoted;
    None where more text is needed to tell.
    """
    unquoted = _unquoted(delimiter)
    position, fields, fault = start, 0, None
    while True:
        fields += 1
        if text[position : position + 1] == b'"':
            limit = min(len(text), position + MAX_RECORD_BYTES)
            match = _QUOTED.match(text, position, limit)
            # A quote after the match is the second of a doubled pair, which the pattern took apart
            # for want of a closing one.
            if match is None or text[match.end() : match.end() + 1] == b'"':
                return None if not ended and limit == len(text) else _first_line(text, start, line)
            position = match.end()
            if text[position : position + 2] != b"\r\n" and text[position : position + 1] not in (
                delimiter,
                b"\n",
                b"",
            ):
                at_the_end = text[position:] == b"\r"
                if at_the_end and not ended:
                    return None
                if not at_the_end:
                    if b"\n" in match.group():  # it ran on to the next quote of another row
                        return _first_line(text, start, line)
                    fault = fault or "text_after_quote"
        match = unquoted.match(text, position)
        assert match is not None
        if b"\r" in match.group().rstrip(b"\r") or match.group().endswith(b"\r\r"):
            fault = fault or "carriage_return"
        position = match.end()
        following = text[position : position + 1]
        if following == b"" and not ended:
            return None
        position += len(following)
        if following != delimiter:
            return Record(start, position, line, fields, fault)


def _first_line(text: bytes, start: int, line: int) -> Record:
    """The line at `start` as a record whose quote is never closed:
    the rows after it are not to vanish into one value.
    """
    newline = text.find(b"\n", start)
    return Record(start, newline + 1 if newline >= 0 else len(text), line, 1, "unclosed_quote")


_UNQUOTED: "dict[bytes, re.Pattern[bytes]]" = {}


def _unquoted(delimiter: bytes) -> "re.Pattern[bytes]":
    return _UNQUOTED.setdefault(delimiter, re.compile(b"[^\n" + re.escape(delimiter) + b"]*"))


def _cut(text: bytes, delimiter: bytes, ended: bool, quoted: bool) -> tuple[int, bool]:
    """Where the last whole record of a text ends, and whether the text up to there is regular."""
    returns = text.count(b"\r") if b"\r" in text else 0
    if b"\0" not in text and (
        not returns or returns == text.count(b"\r\n") + (not ended and text.endswith(b"\r"))
    ):
        if not quoted or b'"' not in text:
            return (len(text) if ended else text.rfind(b"\n") + 1), True
        end = _cut_by_parity(text, delimiter, ended)
        if end is not None:
            return end, True
    found = scan(text, delimiter, ended, quoted)
    end = len(text) if ended else found[-1].end if found else 0
    return end, False


def _cut_by_parity(text: bytes, delimiter: bytes, ended: bool) -> Optional[int]:
    """Where the last whole record ends, if every quote opens, closes or doubles where it may;
    else None.
    """
    values = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(values == _QUOTE)
    opening, closing = quotes[0::2], quotes[1::2]
    before = values[
        opening - 1
    ]  # of a quote at offset 0 this is the last byte, which the next line mends
    fine_before = (
        (before == delimiter[0]) | (before == _NEWLINE) | (before == _QUOTE) | (opening == 0)
    )
    if len(quotes) % 2 and (ended or len(text) - quotes[-1] > MAX_RECORD_BYTES):
        return None
    inside = closing[closing + 1 < len(values)]
    after = values[inside + 1]
    fine_after = (
        (after == delimiter[0]) | (after == _NEWLINE) | (after == _RETURN) | (after == _QUOTE)
    )
    # A quote before an opening one must be the closing one of a doubled pair, not a value's first
    # byte run on: `"a""b"`.
    if not (fine_before.all() and fine_after.all()):
        return None
    if (closing - opening[: len(closing)]).max(initial=0) > MAX_RECORD_BYTES:
        return None
    if ended:
        return len(text)
    newlines = np.flatnonzero(values == _NEWLINE)
    outside = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    return int(outside[-1]) + 1 if len(outside) else 0
