"""Picture files made byte by byte, as no library writes them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence


def chunk(kind: bytes, data: bytes, *, sum_is_wrong: bool = False) -> bytes:
    """A chunk of PNG."""
    told = zlib.crc32(kind + data) ^ sum_is_wrong
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", told)


def png(
    width: int, height: int, bits: int, colours: int, rows: bytes, *chunks: bytes, after: Sequence[bytes] = ()
) -> bytes:
    """A PNG file: its rows one after the other without filters, chunks before the pixels and after."""
    length = len(rows) // height
    lines = b"".join(b"\0" + rows[i * length : (i + 1) * length] for i in range(height))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + b"".join(after) + chunk(b"IEND", b"")


def ifd(entries: Sequence[tuple[int, int, int, bytes]], at: int, order: str = "<", follows: int = 0) -> bytes:
    """A directory of TIFF or EXIF at an offset: of tag, type, count and value; what is longer than 4 bytes follows."""
    table, behind = struct.pack(f"{order}H", len(entries)), b""
    end = at + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        if len(value) > 4:
            place, behind = struct.pack(f"{order}I", end + len(behind)), behind + value
        else:
            place = value.ljust(4, b"\0")
        table += struct.pack(f"{order}HHI", tag, kind, count) + place
    return table + struct.pack(f"{order}I", follows) + behind


def exif(*entries: tuple[int, int, int, bytes], order: str = "<", follows: int = 0) -> bytes:
    """EXIF with these entries."""
    begins = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + begins + struct.pack(f"{order}I", 8) + ifd(entries, 8, order, follows)


def turned(orientation: int, order: str = "<") -> tuple[int, int, int, bytes]:
    """EXIF's entry of the orientation."""
    return (0x112, 3, 1, struct.pack(f"{order}HH", orientation, 0))


def tiff(
    width: int,
    height: int,
    pixels: bytes,
    bits: Sequence[int],
    meaning: int,
    *,
    signs: int = 1,
    order: str = "<",
    more: Sequence[tuple[int, int, int, bytes]] = (),
) -> bytes:
    """A TIFF file of one strip: bits a channel, the photometric meaning, the format of its numbers."""

    def short(tag: int, *values: int) -> tuple[int, int, int, bytes]:
        return (tag, 3, len(values), struct.pack(f"{order}{len(values)}H", *values))

    def long(tag: int, value: int) -> tuple[int, int, int, bytes]:
        return (tag, 4, 1, struct.pack(f"{order}I", value))

    entries = [
        short(256, width), short(257, height), short(258, *bits), short(259, 1), short(262, meaning), long(273, 8),
        short(277, len(bits)), short(278, height), long(279, len(pixels)), short(339, *([signs] * len(bits))), *more,
    ]  # fmt: skip
    start = 8 + len(pixels) + len(pixels) % 2
    begins = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return begins + pixels + b"\0" * (len(pixels) % 2) + ifd(sorted(entries), start, order)


def segments(*found: tuple[int, bytes]) -> bytes:
    """Segments of JPEG, each of a marker and what it holds."""
    return b"".join(bytes([0xFF, kind]) + struct.pack(">H", len(data) + 2) + data for kind, data in found)
