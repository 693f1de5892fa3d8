"""Headers of recordings: lines that begin with a mark, before the events."""

from __future__ import annotations

import re
from typing import IO

from eventsim.errors import InputError

_MAX_HEADER = 2**20
# What no line of text has, and events nearly always do: those may begin with the mark, too.
_NO_TEXT = re.compile(rb"[^\t\r\n\x20-\xff]")


def header_lines(stream: IO[bytes], name: str, mark: bytes, last: bytes) -> list[bytes]:
    """Read the lines of text that begin with a mark, up to the one that ``last`` (a regular expression) matches; events follow.

    Raises
    ------
    InputError
        They are too many, or the last one has no end.
    """
    lines: list[bytes] = []
    while True:
        place = stream.tell()
        line = stream.readline(_MAX_HEADER)
        if not line.startswith(mark) or not line.endswith(b"\n") or _NO_TEXT.search(line):
            if line.startswith(mark) and len(line) < _MAX_HEADER and not _NO_TEXT.search(line):
                raise InputError(f"{name}: ends within its header; cut short")
            stream.seek(place)
            return lines
        if place > _MAX_HEADER:
            raise InputError(f"{name}: a header of more than {_MAX_HEADER:,} bytes; a damaged recording")
        lines.append(line)
        if re.match(last, line):
            return lines
