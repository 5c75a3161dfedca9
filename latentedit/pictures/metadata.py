"""What a picture file says beside its pixels: the orientation is read, and the rest can be taken off.

The orientation is read here and not by Pillow, which reads all the rest along with it and stops where that is broken.
"""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

from PIL import Image

from latentedit.errors import LatentEditError

_ORIENTATION = 274
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WHOLE = {1: "B", 3: "H", 4: "I"}  # EXIF's types of numbers that an orientation may have
_PNG, _TIFF = b"\x89PNG\r\n\x1a\n", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_LENGTHS = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}  # of TIFF's types; others have 1
# Tags of TIFF that say where the pixels are and what they mean.
_PIXELS = {
    256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 338, 339, 347,
    512, 513, 514, 515, 519, 520, 521, 529, 530, 532,
}  # fmt: skip
_TRANSPARENCY = {0: (2,), 2: (6,), 3: range(1, 257)}  # kind of PNG, and how long its transparency may be
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """How a picture is to be turned, by its EXIF, else by its XMP; None for as it is. TIFF is turned by Pillow."""
    if image.format == "TIFF":
        return None
    exif = image.info.get("exif")
    if not isinstance(exif, bytes):
        exif = _unpacked(image.info.get("Raw profile type exif"))
    found = _of_exif(exif)
    return _TURNS.get((_of_xmp(image.info) if found is None else found) or 1)


def is_tiff(path: str | Path) -> bool:
    """Whether a file begins as TIFF does."""
    with open(path, "rb") as file:
        return file.read(4) in _TIFF


def without_metadata(data: bytes, *, text: str | None = None) -> bytes | None:
    """A picture file with its pixels, its transparency and its orientation alone, so that nothing else can be wrong.

    Args:
        data: the whole file.
        text: key of texts of PNG that stay as well.

    Returns:
        None where the format has no metadata that stop Pillow.

    Raises:
        LatentEditError: it is cut off.
    """
    try:
        if data.startswith(_PNG):
            return _plain_png(data, None if text is None else text.encode("latin-1") + b"\0")
        if data.startswith(b"\xff\xd8\xff"):
            return _plain_jpeg(data)
        if data.startswith(_TIFF):
            return _plain_tiff(data)
        if data[4:8] == b"ftyp":  # AVIF; a kind of item that nobody knows is passed over
            return re.sub(rb"(infe.{8})Exif", rb"\1none", data, flags=re.DOTALL)
    except (struct.error, IndexError) as error:
        raise LatentEditError("it is cut off or damaged; take another copy of it") from error
    return None


def _of_exif(exif: bytes) -> int | None:
    """The number under EXIF's orientation; None when there is none, or the data end before it."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for i in range(count):
            tag, kind = struct.unpack_from(f"{order}HH", exif, start + 2 + 12 * i)
            if tag == _ORIENTATION and kind in _WHOLE:
                (value,) = struct.unpack_from(f"{order}{_WHOLE[kind]}", exif, start + 10 + 12 * i)
                return int(value)
    except struct.error:
        pass
    return None


def _of_xmp(info: dict[str | tuple[int, int], object]) -> int | None:
    for key in ("xmp", "XML:com.adobe.xmp"):
        said = info.get(key)
        text = said.encode("utf-8", "replace") if isinstance(said, str) else said
        if isinstance(text, bytes) and (found := re.search(rb'tiff:Orientation(?:="|>)\s*([1-8])', text)):
            return int(found[1])
    return None


def _unpacked(profile: object) -> bytes:
    """EXIF that ImageMagick wrote as text: a name, a length, and hexadecimal digits."""
    try:
        return bytes.fromhex("".join(str(profile).split("\n")[3:]))
    except ValueError:
        return b""


def _plain_png(data: bytes, text: bytes | None) -> bytes:
    parts, at, colours = [_PNG], len(_PNG), data[25]
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + length]
        transparency = kind == b"tRNS" and length in _TRANSPARENCY.get(colours, ())  # others are none, to any viewer
        wanted = kind == b"eXIf" or (text is not None and kind in _TEXTS and chunk.startswith(text, 8))
        whole = wanted and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND") or transparency or whole:
            parts.append(chunk)
        at += 12 + length
    return b"".join(parts)


def _plain_jpeg(data: bytes) -> bytes:
    parts, at, exif = [data[:2]], 2, b""
    while data[at + 1] not in (0xD9, 0xDA):  # the end, or what is drawn
        if data[at] != 0xFF or data[at + 1] in (0x00, 0x01, 0xFF):  # filling
            at += 1
            continue
        length = max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
        kind, segment = data[at + 1], data[at : at + 2 + length]
        if kind == 0xE1 and segment[4:10] == b"Exif\0\0":
            exif += segment[10:]
        # Two tell what the channels are. The decoder takes them from these lengths on.
        colours = (kind == 0xE0 and length >= 16) or (kind == 0xEE and length >= 14)
        if colours or not (0xE0 <= kind <= 0xEF or kind == 0xFE):
            parts.append(segment)
        at += 2 + length
    turn = (_of_exif(exif) or 1) % 256
    small = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([turn]) + bytes(7)
    parts.insert(1, b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small)
    return b"".join([*parts, data[at:]])


def _plain_tiff(data: bytes) -> bytes:
    order, big = ("<" if data[:2] == b"II" else ">"), 43 in data[2:4]
    count_of, entry_of, offset_of = (
        (f"{order}Q", f"{order}HHQ", f"{order}Q") if big else (f"{order}H", f"{order}HHI", f"{order}I")
    )
    (start,) = struct.unpack_from(offset_of, data, 8 if big else 4)
    (count,) = struct.unpack_from(count_of, data, start)
    place = struct.calcsize(offset_of)  # bytes of a value, or of where it is
    head, first = struct.calcsize(entry_of), start + struct.calcsize(count_of)
    entries = []
    for i in range(count):
        at = first + i * (head + place)
        tag, kind, number = struct.unpack_from(entry_of, data, at)
        (offset,) = struct.unpack_from(offset_of, data, at + head)
        if tag in _PIXELS or (tag == _ORIENTATION and kind in _WHOLE and number == 1):
            length = number * _LENGTHS.get(kind, 1)
            if length > place and offset + length > len(data):
                raise IndexError
            entries.append(data[at : at + head + place])
    table = struct.pack(count_of, len(entries)) + b"".join(entries) + bytes(place)
    return data[:start] + table + data[start + len(table) :]
