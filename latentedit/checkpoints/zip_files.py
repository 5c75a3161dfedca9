"""The table of contents of a zip archive, read in place and with limits.

The standard library's reader makes an object for every entry that a table has room for, before anything
can be checked; a table of 100 MB becomes gigabytes.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from latentedit.errors import DamagedFileError, UnsafeFileError

_MOST = 100_000  # members; a checkpoint has a few thousand
_END, _END64, _LOCATOR, _ENTRY = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02"
_FULL = 0xFFFFFFFF  # the value is in the entry's zip64 field


class Member(NamedTuple):
    """One entry of the table."""

    name: str
    offset: int
    """Of its local header."""
    size: int
    """Of the content, in bytes."""
    stored: bool
    """Neither compressed nor encrypted."""


def members(data: Any) -> dict[str, Member]:
    """Entries by name, in the table's order.

    Args:
        data: the archive, as bytes or mapped into memory.

    Raises:
        DamagedFileError: truncated, or entries of the same name.
        UnsafeFileError: more entries than any checkpoint has.
    """
    found: dict[str, Member] = {}
    try:
        count, start = _table(data)
        for _ in range(count):
            member, start = _entry(data, start)
            if member.name in found:
                raise DamagedFileError("its zip archive is damaged: two members have the same name")
            found[member.name] = member
    except struct.error as error:
        raise DamagedFileError("its zip archive is damaged: its table of contents is not whole") from error
    return found


def _table(data: Any) -> tuple[int, int]:
    """Number of entries and where they start."""
    size = len(data)
    tail = max(0, size - 65_557)  # the longest comment, and the record before it
    place = data[tail:].rfind(_END)
    if place < 0:
        raise DamagedFileError(
            f"its zip archive is truncated: {size} bytes are there and the end is missing; download it again"
        )
    place += tail
    count, length, start = struct.unpack("<HII", data[place + 10 : place + 20])
    if place >= 20 and data[place - 20 : place - 16] == _LOCATOR:
        (end64,) = struct.unpack("<Q", data[place - 12 : place - 4])
        if data[end64 : end64 + 4] != _END64:
            raise DamagedFileError("its zip archive is damaged or truncated: its end points nowhere")
        count, length, start = struct.unpack("<QQQ", data[end64 + 32 : end64 + 56])
    if count > _MOST:
        raise UnsafeFileError(f"its zip archive claims {count} members; at most {_MOST} are read")
    if start + length > size or count * 46 > length:
        raise DamagedFileError("its zip archive is truncated or damaged: its table of contents lies outside")
    return count, start


def _entry(data: Any, start: int) -> tuple[Member, int]:
    """One entry and where the next starts."""
    head = data[start : start + 46]
    if head[:4] != _ENTRY:
        raise DamagedFileError("its zip archive is damaged: its table of contents is not whole")
    flags, method = struct.unpack("<HH", head[8:12])
    packed, size, name_size, extra_size, comment_size = struct.unpack("<IIHHH", head[20:34])
    (offset,) = struct.unpack("<I", head[42:46])
    name_end = start + 46 + name_size
    name = bytes(data[start + 46 : name_end]).decode("utf-8", "replace")
    size, packed, offset = _long(bytes(data[name_end : name_end + extra_size]), size, packed, offset)
    stored = method == 0 and not flags & 1 and packed == size
    return Member(name, offset, size, stored), name_end + extra_size + comment_size


def _long(extra: bytes, *values: int) -> list[int]:
    """The values of an entry, those that need 64 bits taken from its extra fields."""
    full = [index for index, value in enumerate(values) if value == _FULL]
    result, place = list(values), 0
    while full and place + 4 <= len(extra):
        kind, length = struct.unpack("<HH", extra[place : place + 4])
        if kind == 1:
            numbers = struct.unpack(f"<{len(full)}Q", extra[place + 4 : place + 4 + 8 * len(full)])
            for index, number in zip(full, numbers, strict=True):
                result[index] = number
            break
        place += 4 + length
    return result
